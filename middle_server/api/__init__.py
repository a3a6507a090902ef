"""The HTTP surface: one file per router; ``problems`` is the one place that turns errors into answers."""
