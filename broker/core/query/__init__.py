"""Queries as values: text to tree to answer."""
