"""The mesh: read and checked as a blueprint, run by a runtime, used as `Mesh` or `BlockingMesh`."""
