"""The types that all rooms use: calls, errors, descriptions, instances, policies, settings."""
