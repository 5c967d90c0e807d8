"""Hash flooding: finds the keys in a body, and refuses them if a set or dict of them would be slow."""
