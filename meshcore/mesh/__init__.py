"""The running mesh: its blueprint, its parts, and the doors to it."""
