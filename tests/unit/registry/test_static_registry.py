import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.instances import Absent, Bound, ChannelAddress, Instance
from meshcore.registry import StaticComponentRegistry
from meshcore.registry.addresses import origin_of, parse_addresses
from meshcore.testing import watching

H1 = "http://h1:8000"
H2 = "http://h2:8000"


async def seen_of(registry: StaticComponentRegistry, component: str):
    """The first sighting."""
    sightings = registry.watch(component)
    try:
        return await asyncio.wait_for(anext(sightings), 1)
    finally:
        await sightings.aclose()


async def test_channels_of_the_same_host_and_port_are_one_instance():
    """Addresses with the same origin are one instance, in the order in which they are given."""
    registry = StaticComponentRegistry.from_url(f"static:orders=dispatch-json({H1}/x),rest({H1}/y?z=1)")
    addresses = (ChannelAddress("dispatch-json", f"{H1}/x"), ChannelAddress("rest", f"{H1}/y?z=1"))
    assert await seen_of(registry, "orders") == Bound((Instance("h1:8000", "orders", addresses),))


async def test_the_same_channel_of_two_hosts_is_two_instances():
    """Two URLs of one channel are two instances, ordered by id, however they are mixed with other channels."""
    registry = StaticComponentRegistry.from_url(f"static:a=rest({H2}),rest({H1}),dispatch-json({H2})")
    assert (await registry.instances())["a"] == (
        Instance("h1:8000", "a", (ChannelAddress("rest", H1),)),
        Instance("h2:8000", "a", (ChannelAddress("rest", H2), ChannelAddress("dispatch-json", H2))),
    )


async def test_several_components_and_white_space():
    """Components are divided by semicolons, and white space between the parts (a folded YAML text) is allowed."""
    registry = StaticComponentRegistry.from_url(
        f"static: orders = rest( {H1} ) ,\n dispatch-json({H1}) ;\n stock=rest({H2}) "
    )
    assert {name: [each.id for each in found] for name, found in (await registry.instances()).items()} == {
        "orders": ["h1:8000"],
        "stock": ["h2:8000"],
    }


async def test_an_unknown_component_is_absent():
    """A component that is not in the text is absent with authority."""
    assert await seen_of(StaticComponentRegistry({}), "orders") == Absent()


async def test_a_server_announces_without_effect(caplog):
    """Announcing changes nothing and is logged as information, not as a problem."""
    registry = StaticComponentRegistry({"orders": [ChannelAddress("rest", H1)]})
    with caplog.at_level(logging.INFO, "meshcore.registry"):
        async with registry, registry.announce(Instance("me", "orders", ())):
            assert [each.id for each in (await registry.instances())["orders"]] == ["h1:8000"]
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "me of orders is not announced" in caplog.text


async def test_names_are_percent_decoded_and_urls_are_not():
    """A name may contain the dividing characters in percent form; a URL stays as it was written."""
    addresses = parse_addresses("static:a%3Db%3B=re%28st(http://h/%28x%2C%29)")
    assert addresses == {"a=b;": [ChannelAddress("re(st", "http://h/%28x%2C%29")]}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://H1", "h1:80"),
        ("https://h1/", "h1:443"),
        ("http://user@h1:80/x", "h1:80"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("fancy://h1", "h1"),
    ],
)
def test_the_origin_of_a_url(url, origin):
    """Host names are compared in lower case, and ports that the scheme implies are written out."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 8: expected a component's name; found the end"),
        ("orders", "character 14: expected '=' after the component's name; found the end"),
        ("=rest(http://h)", "character 8: expected a component's name; found '=rest(http://h)'"),
        ("a=", "character 10: expected a channel, as in rest(http://host:8000); found the end"),
        ("a=http://h1:8000", "character 24: expected '(' and the URL of channel http://h1:8000; found the end"),
        ("a=rest()", "character 15: expected the URL of channel rest; found ')'"),
        ("a=rest(http://h", "character 23: expected ')' after http://h "),
        ("a=rest(http://h/(x))", "character 24: expected ')' after http://h/ (within a URL, ( ) , ; are written %28 "),
        ("a=rest(http://h,i)", "character 23: expected ')' after http://h "),
        ("a=rest(h1:8000)", "character 15: expected a URL, but 'h1:8000' has no scheme and host"),
        (
            "a=rest(http://h:x)",
            "character 15: expected a URL, but 'http://h:x' is no URL: Port could not be cast to integer value as 'x'",
        ),
        ("a=rest(http://[::1)", "character 15: expected a URL, but 'http://[::1' is no URL: Invalid IPv6 URL"),
        (
            "a=rest(http://h1)stock",
            "character 25: expected ',' and another address, ';' and another component, or the ",
        ),
        ("a=rest(http://h1);", "character 26: expected a component's name; found the end"),
        ("a=rest(http://h1);a=rest(http://h2)", "character 26: expected a component other than 'a'"),
        ("a=rest(http://h1/x),rest(http://h1/y)", "component 'a': http://h1/x and http://h1/y are both rest of the "),
    ],
)
def test_a_mistake_is_named_with_its_position(text, message):
    """Every mistake in the text is a ValueError that says what was expected, where, and what is there."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is compared below
        StaticComponentRegistry.from_url(f"static:{text}")
    assert message in str(raised.value)


def test_a_long_rest_is_shortened():
    """The excerpt in an error is short, however long the setting."""
    with pytest.raises(ValueError, match=r"found '={24}\.\.\.'$"):
        parse_addresses("static:" + "=" * 1000)


def test_a_wrong_address_of_the_constructor_names_its_component():
    """In Python code a wrong URL names the component and the channel."""
    with pytest.raises(ValueError, match="component 'orders', channel rest: 'h1:8000' has no scheme and host"):
        StaticComponentRegistry({"orders": [ChannelAddress("rest", "h1:8000")]})


@given(st.text(alphabet="a=b(),;:/ht.p1 %[]", max_size=40))
def test_any_text_is_read_or_refused_with_a_position(text):
    """Whatever the text, it is read, or refused as a ValueError that names a position within it."""
    try:
        parse_addresses(f"static:{text}")
    except ValueError as error:
        before, _, after = str(error).partition(" at character ")
        assert before == "static:"
        assert 8 <= int(after.partition(":")[0]) <= len(text) + 8


async def test_the_watch_never_ends():
    """After its one sighting a watch waits, as other registries' do."""
    registry = StaticComponentRegistry({"orders": [ChannelAddress("rest", H1)]})
    async with watching(registry, "orders", seconds=0.05) as watcher:
        await watcher.until(Bound((Instance("h1:8000", "orders", (ChannelAddress("rest", H1),)),)))
        await watcher.stays_silent()


def test_the_repr_names_the_components():
    """The representation, which error messages quote, names the components."""
    assert repr(StaticComponentRegistry({"orders": [ChannelAddress("rest", H1)]})) == "StaticComponentRegistry(orders)"
    assert repr(StaticComponentRegistry({})) == "StaticComponentRegistry(empty)"
