"""Codecs, built in and in their sandbox."""
