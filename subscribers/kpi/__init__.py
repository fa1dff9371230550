"""Key performance indicators over event time."""
