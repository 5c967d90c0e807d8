"""Mutual TLS: contexts of the newest certificates, and connections that check who is at the other end."""
