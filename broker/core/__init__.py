"""The pure core: entities, fragments, queries and subscriptions as values and functions."""
