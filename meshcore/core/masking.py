"""Hides what is secret from people who look: passwords and tokens in texts, and arguments marked `Secret`."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin, get_type_hints

HIDDEN = "***"

# A password may have an `@` in it, and a `/` if it was not quoted: then what follows the first colon is no port.
_USER = re.compile(r"(?<=//)(?:[^/]*|[^/@:,\[]*:(?!\d+(?:[/?#,]|$))[^@]*)(?=@)")
_OPTION = re.compile(
    r"([?&;#][^=&;]*"
    r"(?:token|passw(?:or)?d|passphrase|pwd|secret|(?:api|access|private)[-_.]?key|credentials?|auth|sig(?:nature)?)=)"
    r"[^&;]*",
    re.IGNORECASE,
)


def without_secrets(url: str) -> str:
    """The text of a URL without passwords and tokens, whatever its scheme."""
    return _OPTION.sub(rf"\1{HIDDEN}", _USER.sub(HIDDEN, url))


class Secret:
    """Marks, inside `Annotated`, a value that nobody may look at: `password: Annotated[str, Secret]`.

    `meshcore tap` and `Mesh.last_calls` hide an argument whose type has this mark, or has a field that has it, also
    where the setting `show_arguments` is on. The errors of `@inject_value` do not show a value that has it. On the wire
    it changes nothing.
    """


def has_secret(hint: Any) -> bool:
    """Whether a type is marked `Secret`, or a type inside of it, such as that of a field."""
    return _has_secret(hint, set())


def _has_secret(hint: Any, seen: set[Any]) -> bool:
    if hint is Secret or isinstance(hint, Secret):
        return True
    if any(_has_secret(each, seen) for each in get_args(hint)):
        return True
    if isinstance(origin := get_origin(hint), type):
        hint = origin
    if not isinstance(hint, type) or hint.__module__ == "builtins" or hint in seen:
        return False
    seen.add(hint)
    try:
        fields = get_type_hints(hint, include_extras=True)
    except Exception:  # noqa: BLE001 - it runs code of the user's; what cannot be read is not shown
        return True
    return any(_has_secret(each, seen) for each in fields.values())
