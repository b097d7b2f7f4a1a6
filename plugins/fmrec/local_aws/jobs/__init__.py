"""What jobs of every kind have in common: their operations, their frame, their hosts."""
