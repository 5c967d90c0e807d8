"""Serves the TLS of the mesh with an ASGI server: hypercorn in this process, its command line, or uvicorn."""
