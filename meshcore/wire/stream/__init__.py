"""The protocol of the channel `stream-msgpack`: many calls on one connection. Bytes in, events out, no clock."""
