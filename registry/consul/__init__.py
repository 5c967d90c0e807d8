"""The registry and the value source on Consul."""
