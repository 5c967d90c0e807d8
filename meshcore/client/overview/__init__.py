"""Looks at a whole mesh: asks its registry who is there, and each process what it knows."""
