"""The front door: the command line, and the composition of the parts behind each command."""
