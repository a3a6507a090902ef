"""What the chain says: the round clock, task state, stakes, instructions, distribution; a client for it; and a devnet of our own.

Everything but ``rpc``, ``client`` and ``devnet`` is pure. ``devnet`` is a chain in one process that keeps the same promises.
"""
