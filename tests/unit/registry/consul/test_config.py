"""How Consul's address is read, and how an instance is written into its Meta."""

from __future__ import annotations

from inspect import signature
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.errors import LocalError
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry import ConsulComponentRegistry
from meshcore.registry.consul.api.config import _NAMES, ConsulConfig, parse_config, read_config
from meshcore.registry.consul.api.types import CheckState, HealthEntry, Node, ServiceEntry
from meshcore.registry.consul.machines.service_watch import Level
from meshcore.registry.consul.registrations import entry_of, registration_of, service_name

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=300)
URLS = WORDS.map(lambda text: f"http://h:1/{text}")
INSTANCES = st.builds(
    Instance,
    id=WORDS,
    component=WORDS,
    addresses=st.lists(st.builds(ChannelAddress, WORDS, URLS), max_size=4).map(tuple),
    version=st.one_of(st.just(""), WORDS),
    zone=st.one_of(st.just(""), WORDS),
    weight=st.integers(0, 10**6),
    digest=st.one_of(st.just(""), WORDS),
    socket=st.one_of(st.just(""), WORDS),
    health=st.one_of(st.just(""), URLS),
)


@given(INSTANCES, st.sampled_from(["http", "ttl"]))
def test_an_instance_is_read_as_it_was_written(instance, check):
    """All of it, within the limits of Consul's Meta."""
    written = registration_of(instance, check)
    assert (written.check.http, written.check.ttl) in {(instance.health, ""), ("", "3s")}
    assert bool(written.check.http) == (check == "http" and bool(instance.health))
    assert len(written.meta) <= 64
    for key, value in written.meta.items():
        assert key.replace("_", "").replace("-", "").isalnum()
        assert key.isascii()
        assert 0 < len(value.encode()) <= 512
    service = ServiceEntry(id=written.id, service=written.name, meta=written.meta, weights=written.weights)
    entry = entry_of(HealthEntry(Node("n"), service, [CheckState("c", "passing"), CheckState("d", "warning")]))
    assert entry is not None
    assert entry.instance == instance
    assert entry.level is Level.WARNING


@given(WORDS, WORDS)
def test_names_that_differ_differ_in_consul(one, other):
    """Consul ignores case and cleans paths, so a name has small letters, digits and four marks only."""
    names = {service_name(one), service_name(other)}
    assert len({name.lower() for name in names}) == len({one, other})
    for name in names:
        assert not name.startswith(".")
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.~")


def test_usual_names_stay():
    """Who looks for them otherwise finds them."""
    assert service_name("orders-component_2.v1") == "orders-component_2.v1"
    assert service_name("Orders") == "~4frders"


def test_what_does_not_fit_is_told():
    """More addresses than Consul holds are an error before anything is sent."""
    many = tuple(ChannelAddress(f"c{number}", "http://h:1") for number in range(70))
    with pytest.raises(LocalError, match="70 addresses"):
        registration_of(Instance("one", "orders", many))


def test_the_environment_of_consuls_tools_is_read():
    """Each variable, unless the same is given."""
    environ = {
        "CONSUL_HTTP_ADDR": "h:1",
        "CONSUL_HTTP_TOKEN": "t",
        "CONSUL_HTTP_SSL": "true",
        "CONSUL_HTTP_SSL_VERIFY": "false",
        "CONSUL_CACERT": "ca.pem",
        "CONSUL_CLIENT_CERT": "c.pem",
        "CONSUL_CLIENT_KEY": "k.pem",
        "CONSUL_TLS_SERVER_NAME": "server",
    }
    expected = ConsulConfig(
        url="https://h:1", token="t", ca="ca.pem", certificate="c.pem", key="k.pem", server_name="server", verify=False
    )
    assert read_config(environ=environ) == expected
    assert parse_config("consul:", environ) == expected
    assert parse_config("consul:?check=ttl", {}).check == "ttl"
    given = parse_config("consul://other:2?token=mine&verify=true&tls=false&datacenter=d", environ)
    assert (given.url, given.token, given.verify, given.datacenter) == ("http://other:2", "mine", True, "d")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("h", "https://h:8501"),
        ("h:1", "https://h:1"),
        ("http://h:1", "http://h:1"),
    ],
)
def test_the_environment_asks_for_https(address, expected):
    """Also for a host that is given, unless the scheme is given as well: a token must not go out in clear."""
    assert read_config(address, environ={"CONSUL_HTTP_SSL": "true"}).url == expected


def test_a_token_may_stand_in_a_file(tmp_path):
    """One that is given comes before what the environment says, file or not; one that is not there is an error."""
    file = tmp_path / "token"
    file.write_text("secret\n")
    environ = {"CONSUL_HTTP_TOKEN_FILE": str(file)}
    assert read_config(environ=environ).token == "secret"
    assert "secret" not in repr(read_config(environ=environ))
    assert read_config(options={"token": "mine"}, environ=environ).token == "mine"
    environ = {"CONSUL_HTTP_TOKEN": "the operator's", "CONSUL_HTTP_TOKEN_FILE": str(tmp_path / "none")}
    assert read_config(options={"token_file": str(file)}, environ=environ).token == "secret"
    assert read_config(environ=environ).token == "the operator's"
    with pytest.raises(ValueError, match="cannot be read"):
        read_config(options={"token_file": str(tmp_path / "none")}, environ={"CONSUL_HTTP_TOKEN": "t"})


def test_all_options_of_the_url_are_keywords(tmp_path):
    """So whoever writes a module can say what a setting can."""
    file = tmp_path / "token"
    file.write_text("secret")
    options = {"datacenter": "d", "ca": "ca", "certificate": "c", "key": "k", "server_name": "s", "check": "ttl"}
    registry = ConsulComponentRegistry("h", token_file=str(file), tls=True, verify=False, watches=7, **options)
    text = urlencode({**options, "token_file": file, "tls": "true", "verify": "false", "watches": "7"})
    assert registry._config == ConsulComponentRegistry.from_url(f"consul://h?{text}")._config
    assert registry._config.token == "secret"
    assert registry._config.url == "https://h:8501"
    assert set(signature(ConsulComponentRegistry).parameters) - {"address"} == _NAMES


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, "http://127.0.0.1:8500"),
        ("h", "http://h:8500"),
        ("https://h", "https://h:8501"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("h:1", "http://h:1"),
    ],
)
def test_addresses(address, expected):
    """With what is not said as Consul's tools have it."""
    assert read_config(address, environ={}).url == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("consul://h:1/path", "host, a port and options"),
        ("consul://h:1?tokn=x", "no option 'tokn'; did you mean 'token'"),
        ("consul://h:1?verify=maybe", "verify must be true or false"),
        ("consul://h:1?check=tcp", "check must be http or ttl, got 'tcp'"),
        ("consul://h:port", "must be like http://host:8500, got 'h:port'"),
        ("consul://h:99999", "must be like http://host:8500, got 'h:99999'"),
    ],
)
def test_urls_that_do_not_fit(url, expected):
    """The text says what is expected."""
    with pytest.raises(ValueError, match=expected):
        parse_config(url, {})


def test_the_number_of_watches():
    """A number, by URL or by argument; anything else is an error."""
    assert parse_config("consul:", {}).watches == read_config(None, {}, {}).watches == 32
    assert parse_config("consul:?watches=0", {}).watches == read_config(None, {"watches": 0}, {}).watches == 0
    for text in ("-1", "many", "1.5"):
        with pytest.raises(ValueError, match="watches must be a number"):
            parse_config(f"consul:?watches={text}", {})
