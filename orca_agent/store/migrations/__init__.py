"""The history of the agent's tables. ``orca_agent.store.migrate`` applies it."""
