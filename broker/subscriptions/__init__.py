"""From a committed change to a delivered notification."""
