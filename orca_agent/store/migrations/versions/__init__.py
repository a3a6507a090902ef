"""One module per change, named by its revision. What was released is never edited."""
