"""Spans of calls for OpenTelemetry, with the extra `otel`."""
