"""What a mesh makes of the room `security`: its certificates, the TLS of its connections, and its guard."""
