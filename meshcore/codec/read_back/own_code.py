"""Code of the user's classes, which runs when a value is tried."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from meshcore.core.context.call_scope import failure_of


@contextmanager
def as_failures() -> Generator[None]:
    """Raise whatever the code raises as an `Exception`, such as a `SystemExit`, unless a signal caused it."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        failure = failure_of(error)
        if failure is None:
            raise
        raise failure from error
