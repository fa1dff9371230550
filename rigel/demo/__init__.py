"""A small city, replayed through the real transports."""
