"""The decorator of methods to which the user's token goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

from meshcore.declare.decorators import mark_function

F = TypeVar("F", bound=Callable[..., Any])


class PassTokenMark(msgspec.Struct, frozen=True):
    """The mark of `@pass_token`."""


@overload
def pass_token(function: F, /) -> F: ...
@overload
def pass_token() -> Callable[[F], F]: ...
def pass_token(function: F | None = None) -> F | Callable[[F], F]:
    """Declare that the token of the call that is served goes on to a method: for methods that act for the user.

    Whoever serves a call with a bearer token and calls such a method for it passes that token on. To other methods it
    never goes. While a call is served, such a method does not get the caller's own token (`BearerToken`), even if the
    user has none: else it would act with more rights than the user has.
    """
    decorate = mark_function("pass_token", PassTokenMark())
    return decorate if function is None else decorate(function)
