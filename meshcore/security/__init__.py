"""Who calls whom: certificates that rotate, mutual TLS, authorization and tokens."""
