"""Hides passwords and tokens in texts that people read: logs, errors, reports."""

from __future__ import annotations

import re

HIDDEN = "***"

_USER = re.compile(r"(?<=//)[^/@]*(?=@)")
_OPTION = re.compile(r"([?&][^=&]*(?:token|password|secret)=)[^&]*", re.IGNORECASE)


def without_secrets(url: str) -> str:
    """The text of a URL without passwords and tokens, whatever its scheme."""
    return _OPTION.sub(rf"\1{HIDDEN}", _USER.sub(HIDDEN, url))
