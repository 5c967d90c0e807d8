"""The sessions with which a process asks instances, and the reasons why one of them does not answer."""
