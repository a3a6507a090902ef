"""What a node shows of itself, and what it must never show."""
