"""The server stack: from an admitted request to the implementation."""
