"""The registry and the value source that live in Consul."""
