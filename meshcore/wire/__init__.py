"""Calls, answers and errors on the wire, in both directions, without any I/O."""
