"""The state machines of the watches: what to request next, and what an answer means. No I/O; time is an argument."""
