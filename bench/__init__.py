"""Measures, not tests: each row says what was reached and what falls short."""
