"""The headers that `meshcore call` sends, as they are typed. Their values may be secrets, so no text has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from meshcore.core.call import Call, Handler, Interceptors
from meshcore.core.errors import ConfigurationError
from meshcore.declare.injection import create, module

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CHANNELS_OWN = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding"})


def read_headers(typed: Sequence[str], token: str = "") -> dict[str, str]:
    """The headers by name, in lower case.

    Args:
        typed: each as "name: value".
        token: a bearer token, or @ and the file that has it; empty for none.

    Raises:
        ConfigurationError: with every one that cannot be sent.
    """
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, text in enumerate(typed, 1):
        name, colon, value = text.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not _NAME.fullmatch(name):
            problems.append(f'--header number {number} must be "name: value"')
        elif name in _CHANNELS_OWN:
            problems.append(f"--header {name}: the channel sends that header itself")
        elif not _VALUE.fullmatch(value):
            problems.append(f"--header {name}: its value has characters that no header may have")
        else:
            found[name] = value
    if token:
        try:
            value = Path(token[1:]).read_text(encoding="utf-8").strip() if token.startswith("@") else token.strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"--token {token}: {getattr(error, 'strerror', None) or 'it is not text'}")
        else:
            if not value or not _VALUE.fullmatch(value):
                problems.append("--token is empty, or has characters that no header may have")
            found["authorization"] = f"Bearer {value}"
    if problems:
        raise ConfigurationError("the headers cannot be sent", problems)
    return found


def with_headers(client: type, headers: Mapping[str, str]) -> type:
    """The module of a client that adds the headers to each call."""
    if not headers:
        return client

    async def add(handler: Handler, call: Call) -> Any:
        return await handler(msgspec.structs.replace(call, headers={**call.headers, **headers}))

    def interceptors(_self: object) -> Interceptors:
        return Interceptors(client=[add], server=[])

    return module(imports=[client])(type("ClientWithHeaders", (), {"interceptors": create()(interceptors)}))
