"""The processes of this machine: containers, whose turn it is, what goes wrong on purpose."""
