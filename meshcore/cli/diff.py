"""`meshcore diff`: prints how two contracts differ, and which changes break callers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
import msgspec
from rich.text import Text

from meshcore.cli.printing import make_console
from meshcore.cli.targets import contract_of_module
from meshcore.client.connections.no_answer import why_no_answer
from meshcore.client.contract_fetch import StatusError, contract_url, fetch_contract
from meshcore.contract.changes import Change, compare
from meshcore.contract.contract import Contract, decode_contract
from meshcore.core.errors import Code, CommunicationError, ConfigurationError
from meshcore.core.masking import without_secrets
from meshcore.core.settings import Settings
from meshcore.mesh.security.asking import asking

SettingsFor = Callable[[str], Settings]
"""The settings for a module, given as package.module:Class."""


async def print_changes(settings_for: SettingsFor, old: str, new: str, *, as_json: bool) -> bool:
    """Print the changes between two contracts.

    Returns:
        Whether the new contract is compatible with callers of the old one.

    Raises:
        ConfigurationError: one of them cannot be read.
        CommunicationError: one of them cannot be fetched.
    """
    changes = compare(await _read(settings_for, old), await _read(settings_for, new))
    compatible = not any(change.breaking for change in changes)
    if as_json:
        plain = msgspec.json.encode({"compatible": compatible, "changes": changes})
        print(msgspec.json.format(plain, indent=2).decode())
    else:
        _print_lines(changes)
    return compatible


def _print_lines(changes: Sequence[Change]) -> None:
    console = make_console()
    if not changes:
        console.print("no changes")
    for change in sorted(changes, key=lambda change: not change.breaking):
        word, style = ("breaking", "bold red") if change.breaking else ("compatible", "green")
        console.print(Text.assemble((f"{word:<10}", style), f"  {change}"))


async def _read(settings_for: SettingsFor, source: str) -> Contract:
    """Read a contract from the URL of a server, a file, or a module."""
    if source.startswith(("http://", "https://")):
        return await _fetch(source, settings_for(""))
    if ":" in source and not _is_file(source):
        return await contract_of_module(settings_for(source))
    return _read_file(source)


def _is_file(source: str) -> bool:
    return Path(source).is_file()


def _read_file(source: str) -> Contract:
    try:
        return decode_contract(Path(source).read_bytes())
    except OSError as error:
        text = f"{error.strerror or error}; give a file, http://host:port, or package.module:Class"
        raise ConfigurationError(source, [text]) from None
    except ValueError as error:
        raise ConfigurationError(source, [str(error)]) from None


async def _fetch(source: str, settings: Settings) -> Contract:
    url = without_secrets(contract_url(source))
    try:
        async with asking(settings, None) as session:
            return await fetch_contract(session, contract_url(source), settings.max_body)
    except aiohttp.InvalidURL:
        raise ConfigurationError(url, ["not a URL"]) from None
    except aiohttp.ClientResponseError as error:
        text = f"{url} answered {error.status}; is it a meshcore server?"
        if isinstance(error, StatusError) and error.denied:
            text = f"{url}: {error.why}"
        raise CommunicationError(Code.UNIMPLEMENTED, text) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommunicationError(Code.UNAVAILABLE, f"{url}: {why_no_answer(error)}") from error
    except ValueError as error:
        raise ConfigurationError(url, [str(error)]) from None
