"""Contracts: what a component promises its callers, as data. They are read, compared, hashed, and made into stubs."""
