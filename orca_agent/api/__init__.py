"""The agent's HTTP surface: one file per router; ``problems`` says which code has which status.

runs          /v1/runs: store, read, list, cancel, follow, output, proof
completions   /v1/swarm/completions, /v1/agent/completions: the Swarms API
catalogue     /v1/swarms/available, /v1/models/available
health        /healthz, /health
page          /docs

services      what every router is handed
access        who may ask
streams       server-sent events of one run
documents     runs as JSON
"""
