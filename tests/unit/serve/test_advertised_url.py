"""Which URL a server advertises, if nobody has set one."""

from __future__ import annotations

import socket

import pytest

from meshcore.core.settings import Settings
from meshcore.registry import ConsulComponentRegistry, LocalComponentRegistry
from meshcore.serve.advertised_url import choose_host, url_warnings, with_reachable_url, with_url

NAME = socket.gethostname()
V4, V6 = "10.0.0.7", "fd00::7"


def from_table(table: dict[tuple[str, str], str]):
    """The own address towards hosts, by address family."""

    async def local_address(family: socket.AddressFamily, host: str) -> str:
        return table.get(("4" if family is socket.AF_INET else "6", host), "")

    return local_address


REACHES = "reaches the registry at consul.example"
ROUTE = "has the default route"
ITS_NAME = "is the address of this machine's name"
FAR4, FAR6 = ("4", "8.8.8.8"), ("6", "2001:4860:4860::8888")


@pytest.mark.parametrize(
    ("bound", "server", "table", "expected"),
    [
        ("0.0.0.0", "consul.example", {("4", "consul.example"): V4, FAR4: "192.0.2.1"}, (V4, REACHES)),
        ("0.0.0.0", "127.0.0.1", {("4", "127.0.0.1"): "127.0.0.1", FAR4: V4}, (V4, ROUTE)),
        ("0.0.0.0", "", {FAR4: V4, FAR6: V6}, (V4, ROUTE)),
        ("0.0.0.0", "", {FAR6: V6}, ("127.0.0.1", "is the only address of this machine")),
        ("0.0.0.0", "", {FAR4: "169.254.1.1", ("4", NAME): V4}, (V4, ITS_NAME)),
        ("0.0.0.0", "", {("4", NAME): "127.0.1.1"}, ("127.0.0.1", "is the only address of this machine")),
        ("::", "consul.example", {("4", "consul.example"): V4, FAR6: V6}, (V4, REACHES)),
        ("::", "consul.example", {("4", "consul.example"): V4, ("6", "consul.example"): V6}, (V6, REACHES)),
        ("::", "", {FAR4: V4, FAR6: V6}, (V6, ROUTE)),
        ("::", "", {FAR4: V4, FAR6: "fe80::1"}, (V4, ROUTE)),
        ("::", "::1", {("6", "::1"): "::1"}, ("::1", "is the only address of this machine")),
    ],
)
async def test_the_address_on_all_interfaces(bound, server, table, expected):
    """That towards the registry; else that of the default route or of the own name; never one of this machine only."""
    assert await choose_host(bound, server, from_table(table)) == expected


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.9", "http://10.0.0.9:8000"), ("::1", "http://[::1]:8000"), ("0.0.0.0", "http://.*:8000")]
)
async def test_the_url_of_what_is_bound(host, url):
    """An address stays. For all interfaces the system is asked, and the source says why."""
    settings = await with_reachable_url(with_url(Settings(), "http", host, 8000), LocalComponentRegistry())
    if host == "0.0.0.0":
        assert settings.advertise_url.startswith("http://")
        assert not settings.advertise_url.startswith("http://0.0.0.0")
        assert settings.sources["advertise_url"].startswith("all interfaces are bound; ")
    else:
        assert (settings.advertise_url, settings.sources["advertise_url"]) == (url, "what is bound")


async def test_a_url_that_is_set_stays():
    """Whoever set it knows better, also if it is one of this machine only."""
    settings = Settings(advertise_url="http://127.0.0.1:9000", sources={"advertise_url": "argument"})
    assert await with_reachable_url(settings, LocalComponentRegistry()) is settings
    assert list(url_warnings(settings)) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_url_that_others_cannot_reach_is_warned_of(host):
    """The text has the URL, where it is from, and the two ways to mend it."""
    (text,) = url_warnings(with_url(Settings(), "http", host, 8000))
    assert f"{host}" in text
    assert "(what is bound) leads clients on other machines to themselves" in text
    assert "--bind 0.0.0.0:8000" in text
    assert "MESHCORE_ADVERTISE_URL" in text


def test_the_default_is_warned_of():
    """Under servers that tell nobody where they listen."""
    (text,) = url_warnings(Settings())
    assert text.startswith("the advertised URL http://127.0.0.1:8000 (default) leads")


@pytest.mark.parametrize("host", [V4, V6, "orders.example"])
def test_other_urls_are_not_warned_of(host):
    """Whether others reach them cannot be known here."""
    assert list(url_warnings(with_url(Settings(), "http", host, 8000))) == []


def test_the_host_of_the_agent():
    """The registry on Consul has a server, those of one machine have none."""
    assert ConsulComponentRegistry("http://consul.example:8500").server_host() == "consul.example"
    assert ConsulComponentRegistry.from_url("consul://[fd00::1]:8500").server_host() == "fd00::1"
    assert LocalComponentRegistry().server_host() == ""
