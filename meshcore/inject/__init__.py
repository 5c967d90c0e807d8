"""The injector: checks the graph of all recipes before the start, then makes objects in scopes."""
