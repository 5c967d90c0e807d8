"""`meshcore call`: the calls that it makes, and their headers."""
