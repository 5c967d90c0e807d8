"""`@resumable`: what it declares, and what cannot work is refused when the interface is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

from meshcore import Component, ConfigurationError, Service, component, describe, resumable, service
from meshcore.contract.changes import compare
from meshcore.contract.contract import contract_of, decode_contract, encode_contract
from meshcore.contract.reader import component_contract
from meshcore.contract.stub import stub_of
from meshcore.core.description import ComponentDescription, Resumption
from meshcore.declare.reader import describe_component


@dataclass
class Entry:
    number: int
    text: str | None = None


class Struct(msgspec.Struct):
    number: Annotated[int, msgspec.Meta(ge=0)]


class Created(msgspec.Struct, tag=True):
    number: int


class Deleted(msgspec.Struct, tag=True):
    number: int


class Model(pydantic.BaseModel):
    number: int


class Row(NamedTuple):
    number: int


class Dict(TypedDict):
    number: int
    note: NotRequired[int]


def streaming(item: Any, after: Any, mark: Callable[[Any], Any], **more: Any) -> type:
    """A service with one such method."""

    def follow(self: Any, after: Any = None) -> Any: ...

    follow.__annotations__ = {"after": after, "return": AsyncIterator[item], **more}
    return service("s")(type("Follow", (Service,), {"follow": mark(follow), "__module__": __name__}))


@pytest.mark.parametrize(
    ("item", "after", "key"),
    [
        (Entry, int | None, "number"),
        (Struct, Annotated[int, msgspec.Meta(ge=0)] | None, "number"),
        (Model, int | str | None, "number"),
        (Row, float | None, "number"),
        (Dict, int | None, "number"),
        (Created | Deleted, int | None, "number"),
        (int, int | None, ""),
        (int | str, int | str | None, ""),
        (Entry, Any, "text"),
        (Any, str | None, "whatever"),
    ],
)
def test_the_key_of_an_item_goes_to_the_parameter(item: Any, after: Any, key: str) -> None:
    """Its field, or the item itself. The method is idempotent."""
    (method,) = describe(streaming(item, after, resumable("after", key))).methods
    assert method.resumption == Resumption(0, key)
    assert method.idempotent


def test_the_key_is_read_from_items_of_every_kind() -> None:
    """Objects and dicts."""
    for item in (Entry(7), Struct(7), Model(number=7), Row(7), Dict(number=7)):
        assert Resumption(0, "number").key_of(item) == 7
    assert Resumption(0).key_of("x") == "x"
    for item in (Entry(7), {"a": 5}):
        with pytest.raises(LookupError):
            Resumption(0, "nothing").key_of(item)


@pytest.mark.parametrize(
    ("item", "after", "key", "problem"),
    [
        (Entry, int | None, "nubmer", "Entry has no field 'nubmer'; did you mean 'number'?"),
        (int, int | None, "number", "int has no field 'number'"),
        (Entry | int, int | None, "number", "int has no field 'number'"),
        (Entry, str | None, "number", "key 'number' is int, and 'after' takes str | None"),
        (Entry, str | None, "text", "key 'text' may be None, which does not say where to go on"),
        (Dict, int | None, "note", "key 'note' of Dict may be missing, and then nobody knows where to go on"),
        (Entry, int | None, "", "an item is Entry, and 'after' takes int | None"),
        (int | None, int | None, "", "an item may be None, which does not say where to go on"),
    ],
)
def test_a_key_that_cannot_work_is_refused(item: Any, after: Any, key: str, problem: str) -> None:
    """With what is wrong, and where."""
    with pytest.raises(ConfigurationError) as caught:
        describe(streaming(item, after, resumable("after", key)))
    assert caught.value.problems == (f"Follow.follow: @resumable: {problem}",)


def test_what_has_no_such_stream_is_refused() -> None:
    """A parameter that is not there, a result that is no stream, and a stream of the caller."""
    with pytest.raises(ConfigurationError, match="@resumable: no parameter 'aftr'; did you mean 'after'"):
        describe(streaming(int, int, resumable("aftr")))
    with pytest.raises(ConfigurationError, match="@resumable: its result is no stream"):
        describe(streaming(int, int, resumable("after"), **{"return": int}))

    @service()
    class Both(Service):
        @resumable("after")
        def both(self, items: AsyncIterator[int], after: int) -> AsyncIterator[int]: ...

    with pytest.raises(ConfigurationError, match="@resumable: it takes a stream, too, whose items cannot be sent"):
        describe(Both)
    with pytest.raises(ConfigurationError, match="it needs an argument"):

        @resumable  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
        def follow() -> None: ...


def described(interface: type) -> ComponentDescription:
    """A component that offers it."""
    return describe_component(component("c", services=[interface])(type("C", (Component,), {})), [])


def test_the_contract_tells_it_and_its_changes() -> None:
    """Where callers go on is a part of it; who knows nothing of that is not hurt by more."""
    by_number, without, by_item = (
        contract_of([component_contract(described(streaming(Entry, Any, mark)))])
        for mark in (resumable("after", "number"), lambda function: function, resumable("after"))
    )
    assert decode_contract(encode_contract(by_number)) == by_number
    (method,) = by_number.components[0].services[0].methods
    assert (method.resume, method.repeat) == ("after=number", "freely")
    digests = {each.components[0].services[0].digest for each in (by_number, without, by_item)}
    assert len(digests) == 3
    texts = [(change.text, change.breaking) for change in compare(without, by_number)]
    assert ("is resumed by after=number now, before it was not resumed", False) in texts
    texts = [(change.text, change.breaking) for change in compare(by_number, by_item)]
    assert texts == [("is resumed by after now, before it was resumed by after=number", True)]
    texts = [(change.text, change.breaking) for change in compare(by_number, without)]
    assert ("is not resumed now, before it was resumed by after=number", True) in texts


@pytest.mark.parametrize(("item", "resumed"), [(Entry, True), (Model, True), (Row, False)])
def test_a_stub_resumes_what_it_can(item: Any, resumed: bool) -> None:  # noqa: FBT001
    """Where the key has its name on the wire, too; a record has none."""
    contract = component_contract(described(streaming(item, int | None, resumable("after", "number"))))
    (offered,) = contract.services
    interface, _ = stub_of("c", offered, offered.methods[0])
    (method,) = describe(interface).methods
    assert method.resumption == (Resumption(0, "number") if resumed else None)
