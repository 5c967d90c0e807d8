"""The ports that adapters implement: channels, registries and value sources. Also how installed adapters are found."""
