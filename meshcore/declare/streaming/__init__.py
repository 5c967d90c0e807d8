"""Streams in interfaces: their annotations, and how one that broke goes on."""
