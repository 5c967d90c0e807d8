"""What a process that serves tells of itself while it runs: its metrics and its summary, with those of its siblings."""
