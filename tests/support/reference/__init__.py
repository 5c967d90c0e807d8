"""Writes the pages of `examples/reference` from the code."""
