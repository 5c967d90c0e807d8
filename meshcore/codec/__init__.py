"""Encodes values as JSON, msgpack or text, decodes them, and decides which types can be sent."""
