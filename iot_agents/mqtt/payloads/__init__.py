"""What devices send, as measures: JSON, UltraLight 2.0, and entities of NGSI."""
