"""The LoRaWAN agent without its sockets."""
