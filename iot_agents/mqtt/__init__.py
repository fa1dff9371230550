"""Devices that speak JSON or UltraLight 2.0 over MQTT or HTTP, as FIWARE's IoT agents take them."""
