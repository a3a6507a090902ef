"""Where a node keeps its runs: the journal port and its implementations."""
