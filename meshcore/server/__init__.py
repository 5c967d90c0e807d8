"""The server stack: admits requests and runs the implementations."""
