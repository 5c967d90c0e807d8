"""Streaming calls: their handlers and interceptors, and the bounded pipe between one writer and one reader."""
