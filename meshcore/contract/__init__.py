"""What a component promises, as data: read, compared, turned into source code."""
