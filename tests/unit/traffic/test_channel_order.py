"""Which channel a client takes first, where nobody names one: the stream between meshes, where that loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.core.instances import ChannelAddress, Instance
from meshcore.traffic.channel_order import STREAM, against_stream, order_of_choice

KNOWN = frozenset({"dispatch-msgpack", "dispatch-json", "rest", "fancy", STREAM})
ANNOUNCED = ("dispatch-msgpack", "dispatch-json", "rest", STREAM)
SEED = ("dispatch-json", "rest")


def instance(number: int, channels: tuple[str, ...], *, weight: int = 1, port: int = 0) -> Instance:
    """An instance that announces the channels, at a port of its own."""
    url = f"http://127.0.0.1:{port or 8000 + number}"
    addresses = tuple(ChannelAddress(channel, url) for channel in channels)
    return Instance(f"orders-{number}", "orders", addresses, weight=weight)


@pytest.mark.parametrize(
    ("announced", "found"),
    [
        (ANNOUNCED, (STREAM, "dispatch-msgpack", "dispatch-json", "rest")),
        (("rest", "dispatch-json", STREAM), (STREAM, "rest", "dispatch-json")),
        ((STREAM, "rest"), (STREAM, "rest")),
        (SEED, SEED),
        ((STREAM,), (STREAM,)),
        (("fancy", "rest", STREAM), ("fancy", STREAM, "rest")),
        (("unknown", "rest", STREAM), (STREAM, "rest")),
        ((), ()),
    ],
)
def test_the_stream_comes_before_the_channels_of_http(announced: tuple[str, ...], found: tuple[str, ...]) -> None:
    """In whatever order they are announced. A channel of one's own that comes first stays first."""
    assert order_of_choice((instance(1, announced), instance(2, announced)), KNOWN) == found


def test_who_does_not_know_the_stream_takes_what_is_announced_first() -> None:
    """As every client did before."""
    assert order_of_choice((instance(1, ANNOUNCED),), KNOWN - {STREAM}) == ANNOUNCED[:-1]


def test_instances_without_the_stream_keep_their_calls() -> None:
    """Such as those of an older release in a rolling upgrade: the stream is first when the last of them has gone."""
    old, new = instance(1, ("dispatch-msgpack", "dispatch-json")), instance(2, ANNOUNCED)
    assert order_of_choice((old, new), KNOWN) == ANNOUNCED[:2] + ANNOUNCED[2:]
    assert against_stream((old, new)) == {"orders-1": "does not offer stream-msgpack, so none is called over it"}
    leaving = instance(1, SEED, weight=0)
    assert order_of_choice((leaving, new), KNOWN)[0] == STREAM
    assert order_of_choice((new,), KNOWN)[0] == STREAM


def test_processes_that_share_an_address_keep_their_calls() -> None:
    """Of `--workers 2` only one would serve the calls of a connection."""
    workers = (instance(1, ANNOUNCED, port=9000), instance(2, ANNOUNCED, port=9000))
    assert order_of_choice(workers, KNOWN) == ANNOUNCED
    assert against_stream(workers).keys() == {"orders-1", "orders-2"}


@given(
    st.lists(
        st.builds(
            instance,
            st.integers(1, 5),
            st.lists(st.sampled_from([*KNOWN, "unknown"]), unique=True).map(tuple),
            weight=st.integers(0, 2),
            port=st.sampled_from([0, 9000]),
        ),
        max_size=6,
        unique_by=lambda each: each.id,
    ).map(tuple)
)
def test_the_first_choice_never_reaches_fewer_instances(instances: tuple[Instance, ...]) -> None:
    """It has the same channels as the announcements; and whatever came first without the rule reaches no more."""
    found = order_of_choice(instances, KNOWN)
    before = tuple(
        dict.fromkeys(address.channel for each in instances for address in each.addresses if address.channel in KNOWN)
    )
    assert sorted(found) == sorted(before)
    assert [name for name in found if name != STREAM] == [name for name in before if name != STREAM]
    if found and found[0] != before[0]:
        urls = [endpoint.url for each in instances if each.weight and (endpoint := each.endpoint(found[0]))]
        assert len(set(urls)) == sum(each.weight > 0 for each in instances)
