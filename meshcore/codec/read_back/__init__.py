"""Tries, when a type is checked, whether what is written is read back equal."""
