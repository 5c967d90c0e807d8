"""The state of this process that a test may change, one class for each kind, read in a fraction of a millisecond."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

SIGNALS = tuple(getattr(signal, f"SIG{name}") for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "CHLD"))


def lives(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in b"ZX"
    except OSError:
        return False


class Kind(ABC):
    """One kind of state.

    Attributes:
        added: whether only what is new matters, and not what has changed or is gone.
    """

    added = True

    @abstractmethod
    def look(self) -> dict[Any, Any]:
        """What there is: names, and values that can be compared."""

    def matters(self, name: Any, value: Any) -> bool:
        """Whether the difference that was found is one."""
        return True

    @abstractmethod
    def text(self, name: Any, value: Any) -> str:
        """How to name it; the value is None if it is gone."""

    def clear(self, name: Any, value: Any, before: Any) -> None:  # noqa: B027 - a thread cannot be ended
        """Make it as it was before; it was not there before if `before` is None."""


class Processes(Kind):
    """Child processes that run."""

    def look(self) -> dict[int, None]:
        return {pid: None for pid in _children() if lives(pid)}

    def matters(self, name: int, value: None) -> bool:
        # multiprocessing starts that one once, and it ends with this process.
        return "multiprocessing.resource_tracker" not in self.text(name, value)

    def text(self, name: int, value: None) -> str:
        command = b""
        with suppress(OSError):
            command = Path(f"/proc/{name}/cmdline").read_bytes()
        words = command.decode(errors="replace").split("\0")
        return f"process {name} ({' '.join(words).strip()})"

    def clear(self, name: int, value: None, before: None) -> None:
        os.kill(name, signal.SIGKILL)
        os.waitpid(name, 0)

    def reap(self, known: dict[int, None]) -> None:
        """Take the status of orphans that have ended, which nobody else will do."""
        for pid in _children():
            if pid not in known and not lives(pid):
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def _children() -> Iterator[int]:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended
            yield from map(int, (thread / "children").read_bytes().split())


class Threads(Kind):
    """Threads of Python that run."""

    def look(self) -> dict[threading.Thread, None]:
        return dict.fromkeys(threading.enumerate())

    def text(self, name: threading.Thread, value: None) -> str:
        return f"thread {name.name}"


class Sockets(Kind):
    """Sockets that listen."""

    def look(self) -> dict[str, int]:
        found = {}
        for number in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # that of the folder itself is closed again
                name = str(number.readlink())
                if name.startswith("socket:"):
                    found[name] = int(number.name)
        return found

    def matters(self, name: str, value: int) -> bool:
        with suppress(OSError), socket.socket(fileno=os.dup(value)) as copy:
            return copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        return False

    def text(self, name: str, value: int) -> str:
        with socket.socket(fileno=os.dup(value)) as copy:
            return f"socket that listens at {copy.getsockname()}"

    def clear(self, name: str, value: int, before: None) -> None:
        with socket.socket(fileno=os.dup(value)) as copy:
            copy.shutdown(socket.SHUT_RDWR)  # closed it can only be by its owner


class Files(Kind):
    """Files and folders in the temporary folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def look(self) -> dict[Path, None]:
        return dict.fromkeys(self._folder.iterdir())

    def text(self, name: Path, value: None) -> str:
        return f"temporary file {name.name}"

    def clear(self, name: Path, value: None, before: None) -> None:
        if name.is_dir():
            shutil.rmtree(name)
        else:
            name.unlink()


class Environment(Kind):
    """Environment variables."""

    added = False

    def look(self) -> dict[str, str]:
        found = dict(os.environ)
        del found["PYTEST_CURRENT_TEST"]  # changes with every phase of a test
        return found

    def text(self, name: str, value: str | None) -> str:
        return f"environment variable {name}={value}" if value is not None else f"environment without {name}"

    def clear(self, name: str, value: str | None, before: str | None) -> None:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class Directory(Kind):
    """The working directory."""

    added = False

    def look(self) -> dict[None, Path]:
        with suppress(FileNotFoundError):  # it may have been removed
            return {None: Path.cwd()}
        return {}

    def text(self, name: None, value: Path | None) -> str:
        return f"working directory {value}"

    def clear(self, name: None, value: Path | None, before: Path) -> None:
        os.chdir(before)


class SearchPath(Kind):
    """Where Python looks for modules."""

    added = False

    def look(self) -> dict[None, list[str]]:
        return {None: list(sys.path)}

    def text(self, name: None, value: list[str]) -> str:
        return f"module search path {value}"

    def clear(self, name: None, value: list[str], before: list[str]) -> None:
        sys.path[:] = before


class Signals(Kind):
    """Handlers of signals. SIGALRM is pytest-timeout's."""

    added = False

    def look(self) -> dict[signal.Signals, Any]:
        return {number: signal.getsignal(number) for number in SIGNALS}

    def text(self, name: signal.Signals, value: Any) -> str:
        return f"handler of {name.name}: {value!r}"

    def clear(self, name: signal.Signals, value: Any, before: Any) -> None:
        signal.signal(name, before)


class Loggers(Kind):
    """Handlers and levels of loggers."""

    added = False

    def look(self) -> dict[str, Any]:
        found = {}
        for name, logger in [("", logging.root), *logging.root.manager.loggerDict.items()]:
            if isinstance(logger, logging.Logger) and (logger.handlers or logger.level or logger.disabled):
                # pytest adds and removes its own.
                handlers = [each for each in logger.handlers if not type(each).__module__.startswith("_pytest")]
                if handlers or logger.level or logger.disabled:
                    found[name] = (handlers, logger.level, logger.disabled)
        return found

    def text(self, name: str, value: Any) -> str:
        return f"logger {name or 'root'}: {value}"

    def clear(self, name: str, value: Any, before: Any) -> None:
        logger = logging.getLogger(name)
        handlers, level, logger.disabled = before or ([], logging.NOTSET, False)
        logger.setLevel(level)  # it also forgets what it has found out of the level
        for each in value[0] if value else []:
            if each not in handlers:
                logger.removeHandler(each)
        for each in handlers:
            logger.addHandler(each)
