"""The HTTP surface: one file per router; ``problems`` says which code has which status."""
