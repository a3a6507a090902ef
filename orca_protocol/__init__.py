"""What two nodes must agree on: types, canonical bytes, envelopes, journal, verdicts, errors.

Nothing here does I/O, reads a clock or imports another package of this project.
"""
