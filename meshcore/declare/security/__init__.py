"""What an interface says of its callers."""
