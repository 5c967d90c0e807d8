"""A process that serves a mesh: start, announcement, workers, stop."""
