"""Make a proof of a run: build the package, sign the statement. Audit is a stranger: the two meet in the proof only."""
