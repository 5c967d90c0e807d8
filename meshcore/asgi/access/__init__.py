"""Who may send requests, before anything of them is read, and who may read the endpoints of operators."""
