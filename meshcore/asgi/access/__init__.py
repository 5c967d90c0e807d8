"""Who may send requests, before anything of them is read."""
