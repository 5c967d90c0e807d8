"""What adapters implement: channels, registries, sources of values; and how installed ones are found."""
