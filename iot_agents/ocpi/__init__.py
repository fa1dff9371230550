"""OCPI receiver interface."""
