"""What developers write declarations with, and the reader that makes descriptions of them."""
