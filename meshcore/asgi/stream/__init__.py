"""The endpoint of the channel `stream-msgpack`."""
