"""Values to bytes or text and back, and which types can travel."""
