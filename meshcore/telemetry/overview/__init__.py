"""The whole mesh, put together from what its processes tell: for the live page, and for `meshcore top`."""
