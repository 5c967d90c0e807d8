"""The items of streaming methods as bytes: over dispatch, over REST, and what all wires have in common."""
