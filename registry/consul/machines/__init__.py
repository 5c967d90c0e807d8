"""Pure machines of blocking queries: what to ask next, and what an answer means. Time is an argument."""
