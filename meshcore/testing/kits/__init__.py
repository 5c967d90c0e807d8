"""Conformance kits: an adapter's test is one call of its kit, plus what is its own."""
