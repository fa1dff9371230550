"""What makes values of a device's bytes, whatever brought them."""
