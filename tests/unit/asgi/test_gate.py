"""What is refused before it is read: writes of other sites' pages, other hosts, two lengths."""

from __future__ import annotations

from typing import Any

import pytest

from meshcore import Code, Settings
from meshcore.asgi.gate import AmbiguousError, Gate
from meshcore.server.request import BodyError
from meshcore.wire.headers import RequestHeaders


def checked(verb: str = "POST", settings: dict[str, Any] | None = None, **headers: str) -> Code | None:
    """The code with which a request is refused, None if it is not. A value of several lines is several headers."""
    sent = {"host": "shop.example:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), line.encode()) for name, value in sent.items() for line in value.split("\n")]
    try:
        Gate(Settings(registry="local:", **(settings or {}))).check(verb, RequestHeaders(raw))
    except BodyError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin", "origin": "https://shop.example"},  # a proxy may have changed the host
        {"sec_fetch_site": "none"},
        {"origin": "http://shop.example:8000"},
        {"origin": "HTTP://Shop.Example:8000"},
    ],
)
def test_writes_of_the_servers_own_pages(headers: dict[str, str]) -> None:
    """And of clients that are no browsers."""
    assert checked(**headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://other.shop.example:8000"},
        {"sec_fetch_site": "cross-site", "origin": "http://shop.example:8000"},
        {"sec_fetch_site": ""},
        {"origin": "http://evil.example"},
        {"origin": "http://shop.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://shop.example:8000@evil.example"},
        {"origin": "http://shop.example:8000", "host": ""},
        {"origin": "null", "host": ""},
        {"origin": "file://", "host": ""},
        {"origin": "http://[::1"},
        {"origin": "http://shop.example:8000\nhttp://evil.example"},
        {"sec_fetch_site": "same-origin\ncross-site"},
    ],
)
def test_writes_of_other_sites_pages(headers: dict[str, str]) -> None:
    """They are refused; reads are not: a page of another site cannot see the answer."""
    assert checked(**headers) is Code.PERMISSION_DENIED
    assert checked("DELETE", **headers) is Code.PERMISSION_DENIED
    assert checked("GET", **headers) is None
    assert checked("HEAD", **headers) is None


def test_allowed_origins() -> None:
    """Exactly these, or all."""
    settings = {"allowed_origins": ("https://web.example", "https://other.example/")}
    assert checked(settings=settings, sec_fetch_site="cross-site", origin="https://web.example") is None
    assert checked(settings=settings, sec_fetch_site="cross-site", origin="https://OTHER.example") is None
    for origin in ("http://web.example", "https://web.example.evil", "null", "https://web.example\nhttps://evil"):
        assert checked(settings=settings, sec_fetch_site="cross-site", origin=origin) is Code.PERMISSION_DENIED
    assert checked(settings=settings, sec_fetch_site="cross-site") is Code.PERMISSION_DENIED
    assert checked(settings={"allowed_origins": ("*",)}, origin="https://any.example") is None


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(("shop.example", True), ("SHOP.example:8000", True), ("shop.example.", True), ("a.b.wild.example", True)),
        *(
            ("127.0.0.1:80", True),
            ("[::1]:80", True),
            ("10.1.2.3", True),
            ("localhost:8000", True),
            ("me.internal", True),
        ),
        *(
            ("evil.example", False),
            ("wild.example", False),
            ("shop.example.evil", False),
            ("", False),
            ("10.evil", False),
        ),
    ],
)
def test_allowed_hosts(host: str, *, allowed: bool) -> None:
    """Reads count, too: a page whose name leads here would see the answers. Addresses are no such names."""
    settings = {"allowed_hosts": ("shop.example", "*.wild.example"), "advertise_url": "http://me.internal:8000"}
    for verb in ("GET", "POST"):
        expected = None if allowed else Code.PERMISSION_DENIED
        assert checked(verb, settings, host=host) is expected
    assert checked(host=host) is None


def test_hosts_of_what_is_for_browsers_are_checked_in_any_case() -> None:
    """The live page makes calls: a site that gives its own name this address must not make them."""
    gate = Gate(Settings(registry="local:", advertise_url="http://me.internal:8000"))
    for host in ("127.0.0.1:8000", "localhost:8000", "me.internal:8000", "[::1]:8000"):
        gate.check("POST", RequestHeaders([(b"host", host.encode())]), known_host=True)
    with pytest.raises(BodyError, match="setting allowed_hosts"):
        gate.check("POST", RequestHeaders([(b"host", b"evil.example:8000")]), known_host=True)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(
            ("127.0.0.1:8000", True),
            ("[::1]", True),
            ("localhost", True),
            ("me.example:8000", True),
            ("orders:8000", True),
        ),
        *(("orders.shop.svc", True), ("orders.shop.svc.cluster.local:80", True), ("orders.service.consul.", True)),
        *(("evil.example:8000", False), ("local.evil", False), ("svc.evil.example", False), ("", False), (".", False)),
    ],
)
def test_what_operators_read_is_not_told_under_names_that_anybody_could_register(host: str, *, allowed: bool) -> None:
    """A site that gives its own name this address would read it. In a cluster servers are asked by private names."""
    gate = Gate(Settings(registry="local:", advertise_url="http://me.example:8000"))
    headers = RequestHeaders([(b"host", host.encode())])
    if allowed:
        gate.check("GET", headers, private_host=True)
    else:
        with pytest.raises(BodyError, match="setting allowed_hosts"):
            gate.check("GET", headers, private_host=True)


def test_with_allowed_hosts_private_names_count_as_others() -> None:
    """The operator has said which there are."""
    gate = Gate(Settings(registry="local:", allowed_hosts=("shop.example",)))
    with pytest.raises(BodyError, match="setting allowed_hosts"):
        gate.check("GET", RequestHeaders([(b"host", b"orders:8000")]), private_host=True)


def test_no_page_calls_methods_under_a_name_that_is_not_known() -> None:
    """Its site may have given its own name this address, so that the origin is that of the host. Others may call."""
    gate = Gate(Settings(registry="local:", allowed_origins=("https://web.example",)))
    rebound = [(b"host", b"evil.example:8000"), (b"origin", b"http://evil.example:8000")]
    with pytest.raises(BodyError, match="setting allowed_hosts"):
        gate.check_call(RequestHeaders(rebound))
    gate.check_call(RequestHeaders([(b"host", b"shop.example"), (b"origin", b"https://web.example")]))
    gate.check_call(RequestHeaders([(b"host", b"shop.example")]))
    gate.check_call(RequestHeaders([(b"host", b"localhost:8000"), (b"origin", b"http://localhost:8000")]))


def test_two_lengths() -> None:
    """Only one of both is clear."""
    raw = [(b"content-length", b"4"), (b"transfer-encoding", b"chunked")]
    with pytest.raises(AmbiguousError, match="either content-length or transfer-encoding"):
        Gate(Settings(registry="local:")).check("POST", RequestHeaders(raw))
    for one in raw:
        Gate(Settings(registry="local:")).check("POST", RequestHeaders([one]))
