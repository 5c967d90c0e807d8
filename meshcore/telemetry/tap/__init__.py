"""Shows calls one by one: the last ones, where a policy remembers them, and those that somebody taps."""
