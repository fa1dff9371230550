"""LoRaWAN network servers over MQTT."""
