"""`consul_client.py CONSUL SECONDS`: aspyx's own client and its own registry, on the Consul agent at that port.

SECONDS is how long its registry sleeps between two looks, 5 by default of aspyx's.

It prints one JSON line with `at` (seconds of the monotonic clock, which all processes share) and `urls` whenever the
list of addresses that the registry keeps is another. On a line of its standard input it makes calls: `calls` all of
the interop contract, by the proxies that aspyx makes, `each` one per address that it lists. Each call is a line as
`client.py` prints it; `each` adds the `url`. A line `{"done": ...}` follows. It ends at the end of its input.
"""

import asyncio
import sys
import threading
import time
from typing import Any

import consul
from aspyx.di import Environment, create, module
from aspyx.di.configuration import ConfigurationSource
from aspyx.reflection import DynamicProxy
from aspyx_service import ComponentRegistry, ConsulComponentRegistry, ServiceManager, ServiceModule, SessionManager
from aspyx_service.service import ChannelFactory
from client import report, run
from contract import AsyncInterop, InteropComponent

NAME = "interop-component"
LOOK = 0.01


class Configuration(ConfigurationSource):
    """How often to look: variables of the environment would be texts, which its registry cannot sleep for."""

    def load(self) -> dict[str, Any]:
        return {"consul": {"watchdog": {"interval": float(sys.argv[2])}}}


@module(imports=[ServiceModule])
class ConsulClientModule:
    """What aspyx needs for a client."""

    @create()
    def create_configuration(self) -> Configuration:
        return Configuration()

    @create()
    def create_registry(self, configuration: Configuration) -> ComponentRegistry:
        # It asks for the configuration since aspyx makes things in any order, and would use its defaults.
        return ConsulComponentRegistry(0, consul.Consul("127.0.0.1", int(sys.argv[1])))

    @create()
    def create_session_storage(self) -> SessionManager.Storage:
        return SessionManager.InMemoryStorage(max_size=10, ttl=60)


def look(registry: ConsulComponentRegistry) -> None:
    """Print the addresses whenever they are others."""
    last: list[str] = []
    while True:
        known = registry.component_addresses.get(NAME, {})
        urls = sorted(f"{each.channel}({url})" for each in known.values() for url in each.urls)
        if urls != last:
            last = urls
            report({"at": time.monotonic(), "urls": urls, "alive": registry.watchdog.is_alive()})
        time.sleep(LOOK)


async def each(manager: ServiceManager, factory: ChannelFactory) -> None:
    """One call by a channel of aspyx's for every address that it lists."""
    descriptor = manager.get_descriptor(InteropComponent).get_component_descriptor()
    for address in manager.component_registry.get_addresses(descriptor):
        proxy = DynamicProxy.create(AsyncInterop, factory.make(address.channel, descriptor, address))
        line: dict[str, Any] = {"channel": address.channel, "url": address.urls[0]}
        try:
            line["passed"] = await proxy.hello("world") == "hello world"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            line |= {"passed": False, "error": repr(error)}
        report(line)


async def main() -> None:
    """Wait until there is an address, then look and do as told."""
    environment = Environment(ConsulClientModule)
    manager, registry = environment.get(ServiceManager), environment.get(ComponentRegistry)
    factory = environment.get(ChannelFactory)
    descriptor = manager.get_descriptor(InteropComponent).get_component_descriptor()
    while not registry.get_addresses(descriptor):  # it watches nothing before
        time.sleep(LOOK)  # noqa: ASYNC251 - nothing else runs yet
    threading.Thread(target=look, args=(registry,), daemon=True).start()
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        await (run(manager) if command == "calls" else each(manager, factory))
        report({"done": command})


if __name__ == "__main__":
    asyncio.run(main())
