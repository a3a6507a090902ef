"""The decisions of the middle server, without I/O and clock: what may follow what, who may do what, what counts as the same."""
