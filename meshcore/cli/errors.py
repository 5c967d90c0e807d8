"""Prints an error as one line on stderr, with an exit status that names its family."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

# 1 is any other error. 2 is also the status of typer for arguments that it cannot parse.
LOCAL = 2
COMMUNICATION = 3
REMOTE = 4
AUTHORIZATION = 5
# What a shell reports for a process that SIGINT or SIGPIPE ended.
INTERRUPTED = 130
PIPE_CLOSED = 141


@contextmanager
def on_one_line(*, debug: bool) -> Generator[None]:
    """Turn an exception into one line on stderr and an exit status. With `debug`, let the exception pass."""
    from meshcore.cli.printing import discard_stdout
    from meshcore.core.errors import AuthorizationError, CommunicationError, LocalError, MeshError

    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a closed pipe must show here: the interpreter's own flush at exit is too late
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # stdout, as in `meshcore ls | head -1`; errors of the network are MeshErrors
        discard_stdout()
        sys.exit(PIPE_CLOSED)
    except Exception as error:
        if debug:
            raise
        match error:
            case LocalError():
                fail(error.message, LOCAL)
            case CommunicationError():
                fail(str(error), COMMUNICATION)
            case AuthorizationError():
                fail(str(error), AUTHORIZATION)
            case MeshError():
                fail(str(error), REMOTE)
            case _:
                text = "; ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
                fail(f"{text} (meshcore --debug ... shows the traceback)", 1)


def fail(text: str, status: int) -> NoReturn:
    """Print an error, and exit."""
    print(f"meshcore: {text}", file=sys.stderr)
    sys.exit(status)
