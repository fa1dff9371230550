"""Plain NGSI-LD clients that subscribe and write back."""
