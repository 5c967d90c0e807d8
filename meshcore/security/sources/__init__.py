"""Where a process gets its certificates, on this machine: files, and an authority for development."""
