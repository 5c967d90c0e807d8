"""Bearer tokens: clients send them, servers verify them, and a user's token goes on only where a method says so."""
