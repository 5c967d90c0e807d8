"""The injector: makes objects from recipes, in scopes, and checks the whole graph before the start."""
