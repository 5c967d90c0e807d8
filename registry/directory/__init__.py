"""The registry that lives in a folder: processes of one machine, liveness by file lock, no server."""
