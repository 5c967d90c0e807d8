"""Streaming calls on the side of the implementation."""
