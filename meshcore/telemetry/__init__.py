"""What a process counts and tells of calls: metrics, traces, logs, and the whole mesh put together from these."""
