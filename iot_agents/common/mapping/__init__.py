"""Declarative mappings from a payload to entities."""
