"""What is counted of calls, and how others read it: Prometheus, OpenTelemetry, the live page."""
