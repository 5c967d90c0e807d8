"""The part of Consul's HTTP API that the registry and the value source use."""
