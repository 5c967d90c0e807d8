"""The nouns that all rooms speak of: calls, errors, descriptions, instances, policies, settings."""
