"""The client stack: from a proxy to a channel, one file per layer."""
