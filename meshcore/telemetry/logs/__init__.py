"""What logs tell of calls: fields of each line, a line for each call, and lines for slow ones."""
