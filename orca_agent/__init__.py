"""Do the work: run engine steps against the world — models, toolchains, queue, HTTP API."""
