"""Rules that raise and clear alerts."""
