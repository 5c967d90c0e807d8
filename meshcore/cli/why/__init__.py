"""`meshcore why`: how a method is called, and who may call it."""
