"""The OpenAPI document of the components that a mesh serves, and the page to read it."""
