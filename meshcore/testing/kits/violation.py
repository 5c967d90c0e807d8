"""The error that names the clause of a contract which an adapter breaks."""

from __future__ import annotations

from collections.abc import Callable


def violation(subject: str, clause: Callable[..., object], error: Exception) -> AssertionError:
    """Make the error for a clause that ended with an error.

    Args:
        subject: the adapter, such as its class.
        clause: the function that checks the clause. Its docstring is the clause.
        error: an AssertionError of the clause, or what the adapter raised.
    """
    text = str(error) if isinstance(error, AssertionError) else repr(error)
    found = AssertionError(f"{subject} breaks the contract. {clause.__doc__} But {text}")
    found.__cause__ = error
    return found
