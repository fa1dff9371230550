"""How a notification leaves, one module per protocol."""
