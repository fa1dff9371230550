"""The command that composes and runs the packages."""
