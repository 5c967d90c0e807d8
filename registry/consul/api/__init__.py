"""Consul's HTTP API, as much of it as is needed here."""
