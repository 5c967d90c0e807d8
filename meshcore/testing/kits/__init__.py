"""Conformance kits for the ports. The test of an adapter is one call of a kit, and tests of what is special to it."""
