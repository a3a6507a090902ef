"""A chain of our own, in one process on loopback, for development and tests: it keeps Koii's promises and gives away its tokens.

    python -m koii_chain.devnet --data DIR [--port 0] [--real-time]

Top to bottom: ``server`` speaks JSON-RPC over HTTP, ``methods`` is the table of what can be asked, ``chain`` accepts and
replays, ``processor`` plans a transaction as a whole, ``program`` and ``rounds`` are the rules of Koii's task program, ``ledger``
moves tokens by the real SPL programs, ``log`` is the file that all state is made from.
"""
