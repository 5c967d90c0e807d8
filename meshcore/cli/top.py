"""`meshcore top`: prints what is called in the whole mesh, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, Final

from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from meshcore.cli.printing import first_of, make_console, print_json, printable, table
from meshcore.client.overview.look import Looker
from meshcore.core.errors import Code, CommunicationError, ConfigurationError
from meshcore.core.masking import without_secrets
from meshcore.core.settings import Settings
from meshcore.core.suggest import did_you_mean
from meshcore.mesh.security.asking import asking
from meshcore.ports.installed import make_registry
from meshcore.telemetry.overview.overview import Look, Overview
from meshcore.telemetry.overview.state import MeshState, ShownMethod

_INTERVAL = 1.0
"""Seconds between two looks."""

_MOST_CALLERS = 3
"""Callers of a method that are named."""

_ORDERS: Final[dict[str, Callable[[ShownMethod], Any]]] = {
    "calls": lambda each: -each.now.calls,
    "success": lambda each: 1.0 if each.now.success is None else each.now.success,
    "p50": lambda each: -(each.now.p50 or 0.0),
    "p95": lambda each: -(each.now.p95 or 0.0),
    "p99": lambda each: -(each.now.p99 or 0.0),
    "name": lambda each: (each.component, each.method),
}


async def show(settings: Settings, part: str, sort: str, *, once: bool = False, as_json: bool = False) -> None:
    """Print what is called, each second until cancelled.

    Args:
        settings: name the registry.
        part: only methods with this in their name or in that of their component.
        sort: the column to sort by.
        once: print once, and end. The callers are those of one second then.
        as_json: print an object on a line each time, instead of a table.

    Raises:
        ConfigurationError: there is no such registry or column.
        CommunicationError: the registry cannot be read at the start, or at all with `once`. Later it is shown.
    """
    if sort not in _ORDERS:
        text = f"{sort!r} is no column to sort by{did_you_mean(sort, _ORDERS)}"
        raise ConfigurationError("--sort", [text])
    try:
        registry = make_registry(settings.registry)
    except ValueError as error:
        raise ConfigurationError("setting registry", [str(error)]) from None
    screen = make_console()
    in_place = screen.is_terminal and not as_json and not once
    overview = Overview()
    async with registry, asking(settings, registry, limit=0) as session:
        looker = Looker(registry, session)
        overview.update(_read(await looker.look()))
        with Live(console=screen, auto_refresh=False) if in_place else nullcontext() as live:
            while True:
                await asyncio.sleep(_INTERVAL)  # who calls is known after two looks
                look = await looker.look()
                state = overview.update(_read(look) if once else look)
                shown = _listed(state, part, sort)
                silent = first_of(f"{without_secrets(url)}: {error}" for url, error in look.errors.items())
                if live is not None:
                    live.update(_screen(state, shown, silent), refresh=True)
                elif as_json:
                    print_json({"at": state.at, "methods": shown, "problems": [*state.problems, *silent]})
                else:
                    screen.print(_screen(state, shown, silent))
                if once:
                    return


def _read(look: Look) -> Look:
    """The look, if the registry could be read.

    Raises:
        CommunicationError: it could not.
    """
    if look.unread:
        raise CommunicationError(Code.UNAVAILABLE, look.unread.rstrip("."), processed=False)
    return look


def _listed(state: MeshState, part: str, sort: str) -> list[ShownMethod]:
    wanted = part.lower()
    found = (each for each in state.methods if wanted in f"{each.component} {each.method}".lower())
    return sorted(found, key=lambda each: (_ORDERS[sort](each), each.component, each.method))


def _screen(state: MeshState, methods: Iterable[ShownMethod], silent: Sequence[str]) -> RenderableType:
    made = _table(methods)
    notes = [*state.problems, *silent]
    if not state.components:
        notes.append("nothing is announced")
    elif not made.rows and not notes:
        notes.append("no method was called since the start of its servers")
    if notes:
        made.caption = Text(printable("\n".join(notes)))
    return made


def _table(methods: Iterable[ShownMethod]) -> Table:
    made = table("component", "method", "calls/s", "success", "p50 ms", "p95 ms", "p99 ms", "retries", "called by")
    for each in methods:
        now = each.now
        success = "-" if now.success is None else f"{now.success:.1%}"
        bad = now.success is not None and now.success < 0.99  # noqa: PLR2004 - as on the live page
        callers = [caller.caller for caller in each.callers]
        named = ", ".join(callers[:_MOST_CALLERS]) + (" ..." if len(callers) > _MOST_CALLERS else "")
        made.add_row(
            *(Text(each.component or "-"), Text(each.method), Text(f"{now.calls:.1f}")),
            Text(success, "red" if bad else ""),
            *(Text(_milliseconds(value)) for value in (now.p50, now.p95, now.p99)),
            *(Text(str(each.retries)), Text(named or "-")),
        )
    return made


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.3g}"
