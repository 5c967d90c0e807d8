"""The live page of the mesh: its files, and the answers that it asks for."""
