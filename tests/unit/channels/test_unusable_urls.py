"""Instances that somebody has announced under a URL that is none: by hand, by a script, by another program."""

from __future__ import annotations

import pytest

from meshcore import ChannelAddress, Code, CommunicationError, ComponentRegistry, Instance, Policy, Settings
from meshcore.channels.http import parse_url
from meshcore.registry import LocalComponentRegistry
from meshcore.testing import memory_mesh
from tests.support.wares import Wares, WaresModule

URLS = [
    "h1:8000",
    "localhost",
    "",
    "http://",
    "http:///path",
    "http://h1:99999",
    "http://h1:port",
    "http://[::1",
    "grpc://127.0.0.1:1",
    "http://one..two",
    f"http://{'long' * 20}",
    "http://\udc80",
]
SETTINGS = Settings(
    registry="local:",
    adaptive_limit=False,
    policies={"wares-component": Policy(balance="round-robin", ejection=60.0)},
)


@pytest.mark.parametrize("channel", ["dispatch-json", "dispatch-msgpack", "rest"])
@pytest.mark.parametrize("url", URLS)
async def test_others_are_asked_and_it_is_ejected(url: str, channel: str) -> None:
    """Calls take notice of it for as long as it is not ejected, and succeed."""
    registry = LocalComponentRegistry()
    bad = Instance("a-bad-one", "wares-component", (ChannelAddress(channel, url),))
    overrides = {ComponentRegistry: registry}
    async with (
        memory_mesh(WaresModule, overrides=overrides, channel=channel, settings=SETTINGS) as mesh,
        registry.announce(bad),
    ):
        wares = await mesh.get_service(Wares)
        while len(mesh.client.why(Wares, "look").instances) < 2:
            await wares.look("apple")
        for _ in range(12):
            assert await wares.look("apple") == 5
        states = {each.instance: each.state for each in mesh.client.why(Wares, "look").instances}
        assert states.pop("a-bad-one") == "ejected"
        assert list(states.values()) == ["admitted"]


@pytest.mark.parametrize("channel", ["dispatch-json", "rest"])
async def test_the_error_names_the_url(channel: str) -> None:
    """When there is no other instance, its caller hears why."""
    registry = LocalComponentRegistry()
    overrides = {ComponentRegistry: registry}
    async with memory_mesh(WaresModule, overrides=overrides, settings=SETTINGS) as mesh:
        mesh.refuse(0)
        async with registry.announce(Instance("bad", "wares-component", (ChannelAddress(channel, "h1:8000"),))):
            wares = await mesh.get_service(Wares, channel)
            messages: set[str] = set()
            while len(messages) < 2:
                with pytest.raises(CommunicationError) as failed:
                    await wares.look("apple")
                assert (failed.value.code, failed.value.processed) == (Code.UNAVAILABLE, False)
                messages |= {failed.value.message}
    assert "the URL 'h1:8000' cannot be used: it must begin with http://host or https://host" in messages


def test_the_password_of_a_url_is_not_shown() -> None:
    """The error says which URL it is, without it."""
    with pytest.raises(CommunicationError, match=r"the URL 'ftp://\*\*\*@h1' cannot be used") as unusable:
        parse_url("ftp://ann:hunter2@h1")
    assert "hunter2" not in str(unusable.value)


def test_urls_that_can_be_asked() -> None:
    """Whatever has a scheme of HTTP and a host that can be looked up."""
    for url in ("http://h1", "https://h1:8000/below/", "http://[::1]:80", "http://[fe80::1%eth0]", "http://my_host.de"):
        assert parse_url(url).raw_host
    assert parse_url("http://\u00fcber.de").raw_host == "xn--ber-goa.de"
