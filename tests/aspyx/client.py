"""`client.py URL`: calls every method of the interop contract at URL, over every channel, with aspyx's own client.

One JSON line per call: `channel`, `service`, `method`, `ok` (the call returned), `result` or `error` and `error_type`,
and `passed`: whether that is what the contract promises. The exit code is 0 when every call was made.

Left out, because aspyx cannot do it itself:
- `fail` over rest: aspyx's client throws the body of an error away, so no reason can arrive; nor does its server
  send one.
- slashes and question marks in a path parameter: its client puts them in unquoted.
- keyword arguments and defaults over dispatch: its client sends positional arguments only, and none may be missing.
- a result of `None` by `-> None`: its client fails with "NoneType takes no arguments".
"""

import asyncio
import json
import sys
from dataclasses import asdict, is_dataclass
from typing import Any

from aspyx.di import Environment, create, module
from aspyx_service import (
    Channel,
    ChannelAddress,
    ChannelInstances,
    Component,
    ComponentDescriptor,
    ComponentRegistry,
    ServiceManager,
    ServiceModule,
    SessionManager,
)
from contract import Address, AsyncInterop, InteropComponent, Item, Person, SyncInterop, Tag
from pydantic import BaseModel

CHANNELS = ("dispatch-json", "dispatch-msgpack", "rest")

FULL_ITEM = Item(
    name="täble ☃",
    count=3,
    price=12.5,
    active=True,
    labels=["a", "", "ß"],
    main=Tag("main", 1.0),
    tags=[Tag("x", 0.25), Tag("y", -2.0)],
    note="a note",
    spare=Tag("spare", 3.5),
)
EMPTY_ITEM = Item(
    name="", count=-(2**40), price=0.0, active=False, labels=[], main=Tag("", 0.0), tags=[], note=None, spare=None
)
FULL_PERSON = Person(
    name="Zoë",
    age=41,
    score=0.5,
    active=True,
    emails=["zoe@example.org"],
    address=Address(street="Main St", number=7),
    others=[Address(street="Side St", number=8)],
    nickname="zo",
)
EMPTY_PERSON = Person(
    name="", age=0, score=0.0, active=False, emails=[], address=Address(street="", number=0), others=[], nickname=None
)


class StaticRegistry(ComponentRegistry):
    """Knows one URL for every channel. It never says `local`, so aspyx takes no short cut."""

    def __init__(self, url: str) -> None:
        self.url = url

    def register(self, descriptor: ComponentDescriptor[Component], addresses: list[ChannelAddress]) -> None:
        """Nothing to announce."""

    def deregister(self, descriptor: ComponentDescriptor[Component]) -> None:
        """Nothing to withdraw."""

    def watch(self, channel: Channel) -> None:
        """Nothing changes."""

    def get_addresses(self, descriptor: ComponentDescriptor[Component]) -> list[ChannelInstances]:
        return [ChannelInstances(descriptor.name, channel, [self.url]) for channel in CHANNELS]


@module(imports=[ServiceModule])
class ClientModule:
    """What aspyx needs for a client."""

    url = ""

    @create()
    def create_registry(self) -> ComponentRegistry:
        return StaticRegistry(self.url)

    @create()
    def create_session_storage(self) -> SessionManager.Storage:
        return SessionManager.InMemoryStorage(max_size=10, ttl=60)


def calls(channel: str) -> list[tuple[str, tuple[Any, ...], Any]]:
    """The calls to make: method, arguments, expected result (of `fail`: a text in the exception)."""
    reason = "no such thing: ümlaut"
    result: list[tuple[str, tuple[Any, ...], Any]] = [
        ("hello", ("world",), "hello world"),
        ("hello", ("wörld & co, 100%",), "hello wörld & co, 100%"),
        ("echo_item", (FULL_ITEM,), FULL_ITEM),
        ("echo_item", (EMPTY_ITEM,), EMPTY_ITEM),
        ("echo_person", (FULL_PERSON,), FULL_PERSON),
        ("echo_person", (EMPTY_PERSON,), EMPTY_PERSON),
        ("add", (2, 40), 42),
        ("add", (-(2**40), 1), 1 - 2**40),
    ]
    if channel != "rest":  # see the module's text
        result.append(("fail", (reason,), reason))
    return result


def plain(value: Any) -> Any:
    """What JSON can show of a value."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value


async def run(manager: ServiceManager) -> None:
    """Make every call: the blocking ones block, and the coroutines share this one loop with aspyx's one client."""
    for channel in CHANNELS:
        for name, interface in (("interop-sync", SyncInterop), ("interop-async", AsyncInterop)):
            proxy = manager.get_service(interface, preferred_channel=channel)
            for method, arguments, expected in calls(channel):
                line: dict[str, Any] = {"channel": channel, "service": name, "method": method}
                try:
                    result = getattr(proxy, method)(*arguments)
                    if interface is AsyncInterop:
                        result = await result
                except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
                    line |= {"ok": False, "error": str(error), "error_type": type(error).__name__}
                    line["passed"] = method == "fail" and expected in str(error)
                else:
                    line |= {"ok": True, "result": plain(result)}
                    same = type(result) is type(expected) and result == expected
                    line["passed"] = method != "fail" and same
                report(line)


def report(line: dict[str, Any]) -> None:
    """Print one line."""
    print(json.dumps(line, ensure_ascii=False), flush=True)  # noqa: T201 - the protocol


def main() -> None:
    """Print one line per call."""
    ClientModule.url = sys.argv[1].rstrip("/")
    manager = Environment(ClientModule).get(ServiceManager)
    assert manager.get_descriptor(InteropComponent) is not None
    asyncio.run(run(manager))


if __name__ == "__main__":
    main()
