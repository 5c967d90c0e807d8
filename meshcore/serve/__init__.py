"""A process that serves a mesh: start, announcement in the registry, workers, graceful shutdown."""
