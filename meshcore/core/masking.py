"""Hides passwords and tokens in texts that people read: logs, errors, reports."""

from __future__ import annotations

import re

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
