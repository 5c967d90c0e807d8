"""What a process counts and tells: metrics, traces, logs."""
