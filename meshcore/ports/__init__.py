"""The ports that adapters implement: channels, registries, value sources, identities; and how they are found."""
