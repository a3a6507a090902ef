"""What others need for the same work: one driver for each, run by the Python of its own environment.

``python -m tests.bench.peers.NAME WORKLOAD BASE_URL REPEATS`` prints one JSON object. Each does it the way its own documentation
shows for agents that work at once, or one after the other; agents are built within what is measured, as a request would.
"""
