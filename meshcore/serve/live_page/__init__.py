"""What the live page asks for: the mesh as this process finds it, and calls that people try."""
