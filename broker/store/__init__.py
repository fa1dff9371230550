"""Where entities, history and notifications are kept."""
