"""The agent's HTTP surface: one file per router; ``problems`` says which code has which status.

runs          /v1/runs: store, read, list, cancel, follow, output, proof
completions   /v1/swarm/completions, /v1/agent/completions: the Swarms API; batches: lists of both; logs: /v1/swarm/logs
chat          /v1/chat/completions: the OpenAI API
catalogue     /v1/swarms/available, /v1/models/available, /v1/models
sockets       /ws/{run}
health        /healthz, /health
page          /docs

services      what every router is handed
access        who may ask
waiting       for the end of a run, or of its caller's patience
translation   requests of the Swarms API in our terms
chat_wire     those of the OpenAI API; chat_messages: what they say; chat_answer: what they are answered
streams       server-sent events; swarm_stream, and chat's own: those of the two APIs; retelling: text that was sent already
followers     how many of them there are
envelope      errors in the OpenAI API's form
documents     runs as JSON
"""
