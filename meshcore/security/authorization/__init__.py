"""Who may call what: compiled rules, the guard of a server that applies them, and its audit log."""
