"""Streaming calls on the caller's side: what a method of a proxy returns, and the task in which its call lives."""
