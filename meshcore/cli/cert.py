"""`meshcore cert`: prints the certificates that a process has, the roots that it trusts, and what is wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.text import Text

from meshcore.cli.printing import make_console, print_json, table
from meshcore.core.errors import Code, LocalError
from meshcore.core.masking import without_secrets
from meshcore.core.settings import Settings
from meshcore.inject.modules import describe_modules
from meshcore.mesh.catalog import Catalog
from meshcore.mesh.security.identity import identity_source, own_names, served_names
from meshcore.ports.identity import Credentials, IdentityError
from meshcore.security.certificates import unproven
from meshcore.serve.module_loader import load_module

if TYPE_CHECKING:
    from meshcore.security.description import Shown

_LITTLE = 1 / 3
"""The share of its life below which a certificate is marked."""
_NAME = "meshcore"
"""What the process calls itself where no module says which components it serves."""


async def show_certificates(settings: Settings, *, as_json: bool = False) -> None:
    """Print the certificates of the setting `identity`, for the components of the setting `module` if it is set.

    Raises:
        LocalError: there is no identity, or its certificates cannot be used.
    """
    problems: list[str] = []
    source = identity_source(settings, {}, problems)
    shown_url = without_secrets(settings.identity)
    if source is None and not problems:
        problems.append(
            "setting identity: it is none, so this process has no certificate; set it, as in --identity dev:"
        )
    found: tuple[Credentials, ...] = ()
    served: tuple[str, ...] = ()
    if source is not None:
        names: tuple[str, ...] = (_NAME,)
        if settings.module:
            module = load_module(settings)
            catalog = Catalog(describe_modules(module))
            names, served = own_names(module, catalog), served_names(catalog)
        try:
            found = await source.open(names)
        except IdentityError as error:
            problems.append(f"setting identity: {error}")
        finally:
            await source.aclose()
    if problems and as_json:
        print_json({"source": shown_url, "problem": problems[0], "certificates": [], "roots": [], "warnings": []})
    if problems:
        raise LocalError(Code.FAILED_PRECONDITION, problems[0])
    # Not before its source, which says what to install.
    from meshcore.security.description import described  # noqa: PLC0415

    shown = described(found, time.time(), unproven(served, found))
    if as_json:
        print_json(_plain(shown, shown_url))
    else:
        _print(shown)


def _plain(shown: Shown, url: str) -> dict[str, Any]:
    return {
        "source": url,
        "problem": "",
        "certificates": shown.certificates,
        "roots": shown.roots,
        "warnings": shown.warnings,
    }


def _print(shown: Shown) -> None:
    screen = make_console()
    certificates = table("identity", "components", "issuer", "begins", "expires", "left", "chain")
    for each in shown.certificates:
        certificates.add_row(
            *map(Text, (each.identity, ", ".join(each.components), each.issuer, each.begins, each.expires)),
            Text(f"{each.left:.0%}", "yellow" if each.left < _LITTLE else ""),
            Text(str(each.chain)),
        )
    screen.print(certificates if shown.certificates else Text("roots alone: this process has no certificate"))
    roots = table("root", "expires", "SHA-256")
    for root in shown.roots:
        roots.add_row(*map(Text, (root.subject, root.expires, root.fingerprint)))
    screen.print(roots)
    for text in shown.warnings:
        screen.print(Text(f"warning: {text}", "yellow"))
