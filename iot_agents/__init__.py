"""Agents that turn device payloads into NGSI-LD updates."""
