"""The registry in a folder, for processes on one machine. A file lock shows that a process lives. No server."""
