"""Real Consul agents and clusters for tests."""
