"""UTC offsets with seconds, which text does not have: a datetime arrives as the same moment, a time is refused."""

import datetime as dt
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.codec.codec import JSON, MSGPACK, Codec
from meshcore.codec.errors import EncodeError
from meshcore.codec.offsets import with_exact_offsets
from meshcore.codec.text import from_text, to_text

CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)
BIRTH = dt.datetime(1930, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))
NOON = dt.time(12, tzinfo=dt.timezone(dt.timedelta(minutes=53, seconds=28)))
OFFSETS = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone)
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=OFFSETS)  # noqa: DTZ001 - bounds are naive


@dataclass(frozen=True, slots=True)
class Frozen:
    at: dt.datetime


class Row(msgspec.Struct, frozen=True, rename="upper"):
    at: dt.datetime
    name: str = ""


@attrs.define
class Defined:
    at: dt.datetime


class Pair(NamedTuple):
    at: dt.datetime
    name: str


class Keyed(TypedDict):
    at: dt.datetime


class Birth(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    at: dt.datetime


class Family(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    births: dict[str, deque[Birth]]
    days: tuple[dt.datetime, ...] = ()
    loose: Any = None
    kept: Any = pydantic.Field(None, exclude=True)


class Moments(pydantic.RootModel[list[dt.datetime]]): ...


VALUES: list[tuple[Any, Any]] = [
    (dt.datetime, BIRTH),
    (list[dt.datetime | None], [None, BIRTH]),
    (set[dt.datetime], {BIRTH}),
    (tuple[int, dt.datetime], (1, BIRTH)),
    (dict[dt.datetime, dt.datetime], {BIRTH: BIRTH}),
    (dict[str, dt.datetime], defaultdict(None, a=BIRTH)),
    (Frozen, Frozen(BIRTH)),
    (Row, Row(BIRTH)),
    (Defined, Defined(BIRTH)),
    (Pair, Pair(BIRTH, "x")),
    (Keyed, {"at": BIRTH}),
    (Birth, Birth(at=BIRTH)),
    (list[Birth], [Birth(at=BIRTH)]),
    (Moments, Moments([BIRTH])),
    (Family, Family(births={"a": deque([Birth(at=BIRTH)])}, days=(BIRTH,))),
]


@CODECS
@pytest.mark.parametrize(("type_", "value"), VALUES, ids=lambda case: getattr(case, "__name__", ""))
def test_a_datetime_arrives_as_the_same_moment(codec: Codec, type_, value):
    """In every container and class, also as a key; the caller's own value stays as it is."""
    before = repr(value)
    assert codec.decoder(type_)(codec.encoder(type_, validate=True)(value)) == value
    assert repr(value) == before


@CODECS
@given(at=MOMENTS)
def test_every_offset_keeps_the_moment(codec: Codec, at):
    """Offsets of hours, minutes, seconds and parts of them."""
    assert codec.decoder(dt.datetime)(codec.encoder(dt.datetime)(at)) == at
    model = codec.decoder(Birth)(codec.encoder(Birth)(Birth(at=at)))
    assert model.at == at
    assert from_text(dt.datetime)(to_text(at)) == at
    assert from_text(list[dt.datetime])(to_text([at, at])) == [at, at]


@CODECS
def test_untyped_parts_are_exact_too(codec: Codec):
    """What `Any` contains is written as text where the format has no datetime."""
    read = codec.decoder(dict[str, dt.datetime])(codec.encoder(Any)({"at": BIRTH}))
    assert read == {"at": BIRTH}
    family = codec.decoder(Family)(codec.encoder(Family)(Family(births={}, loose=[BIRTH], more=BIRTH)))
    assert [dt.datetime.fromisoformat(text) for text in (*family.loose, family.more)] == [BIRTH, BIRTH]


@CODECS
@pytest.mark.parametrize(
    ("type_", "value", "path"),
    [
        (dt.time, NOON, "$"),
        (list[dt.time], [dt.time(1), NOON], "$[1]"),
        (dict[dt.time, int], {NOON: 1}, f"$[{NOON!r}]"),
        (Any, {"a": [NOON]}, "$['a'][0]"),
        (Family, Family(births={}, loose=NOON), "$.loose"),
    ],
)
def test_a_time_with_such_an_offset_is_refused(codec: Codec, type_, value, path):
    """It has no form in UTC, because it has no date."""
    with pytest.raises(EncodeError) as caught:
        codec.encoder(type_)(value)
    assert str(caught.value) == (
        f"{path}: the offset of {NOON} has seconds, which the text of a time does not have: use whole minutes"
    )


def test_times_in_text_are_refused_as_well():
    """In paths, queries and headers."""
    with pytest.raises(EncodeError, match="has seconds"):
        to_text([NOON])


def test_a_datetime_without_a_form_in_utc_is_refused():
    """Year 1 has no earlier one."""
    with pytest.raises(EncodeError, match="it has no form in UTC"):
        JSON.encoder(dt.datetime)(dt.datetime.min.replace(tzinfo=BIRTH.tzinfo))


def test_nothing_else_is_changed_or_copied():
    """A value whose offsets are whole minutes is the same object, and what is excluded is not looked at."""
    paris = dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))
    for value in (paris, [paris], {"a": (Frozen(paris), Row(paris))}, Family(births={}, kept=NOON)):
        assert with_exact_offsets(value) is value
