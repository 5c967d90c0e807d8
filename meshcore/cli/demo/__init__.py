"""`meshcore demo`: real servers, real calls, and a server that is killed meanwhile."""
