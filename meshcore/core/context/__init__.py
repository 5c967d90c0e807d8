"""The context of the code that serves a call: the call itself, its cancel scope, its thread."""
