"""Fetch a peer's proof, check it, say a verdict. Submission is a stranger: the two meet in the proof only."""
