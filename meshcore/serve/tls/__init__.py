"""Serves the TLS of the mesh with hypercorn: in this process, or by its own command line."""
