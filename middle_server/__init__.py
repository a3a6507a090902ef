"""Hand out the work: signed leases, results, verdicts. Nodes and people meet it over HTTP only."""
