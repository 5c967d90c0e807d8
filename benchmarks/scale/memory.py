"""The memory of a process, in bytes; 0 where there is no /proc."""

from __future__ import annotations

from pathlib import Path


def resident(pid: int | str = "self") -> int:
    """What it has in memory now."""
    return _status(pid, "VmRSS:")


def peak(pid: int | str = "self") -> int:
    """The most that it had in memory."""
    return _status(pid, "VmHWM:")


def _status(pid: int | str, name: str) -> int:
    file = Path(f"/proc/{pid}/status")
    if not file.exists():
        return 0
    return sum(int(line.split()[1]) * 1024 for line in file.read_text().splitlines() if line.startswith(name))
