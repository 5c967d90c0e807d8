"""The HTTP endpoints of a served mesh, as one ASGI application."""
