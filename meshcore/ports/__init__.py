"""The ports that adapters implement, such as channels and registries, and how adapters are found."""
