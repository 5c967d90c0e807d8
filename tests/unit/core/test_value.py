"""Values that change, and where `inject_value` looks for them."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from meshcore import ConfigurationError, Mesh, Value, ValueSource, inject_value, injectable, load_settings, module
from meshcore.core.errors import AuthorizationError, Code, CommunicationError
from meshcore.inject.values import UnresolvedError
from meshcore.mesh.live_values import LiveValues
from meshcore.testing import MemoryValueSource


@dataclass
class Limits:
    low: int
    high: int


@injectable()
class Shop:
    def __init__(
        self,
        currency: Annotated[str, inject_value("shop.currency", default="EUR")],
        limit: Annotated[Value[int], inject_value("shop.limit", default=10)],
        limits: Annotated[Value[Limits | None], inject_value("shop.limits")],
    ) -> None:
        self.currency = currency
        self.limit = limit
        self.limits = limits
        self.names: Value[list[str]] = Value([])

    @inject_value("shop.names", default=["none"])
    def set_names(self, names: Value[list[str]]) -> None:
        self.names = names


@injectable()
class Strict:
    def __init__(self, rate: Annotated[Value[float], inject_value("strict.rate")]) -> None:
        self.rate = rate


@injectable()
class Unfit:
    def __init__(self, rate: Value[int]) -> None: ...


def module_of(cls: type) -> type:
    """A module with one class, and not with all that stand beside it."""
    return module(provides=[cls])(type(f"{cls.__name__}Module", (), {"__module__": "nowhere"}))


def mesh(source: ValueSource | None, cls: type = Shop, **settings: Any) -> Mesh:
    """A mesh with values of a source and of settings."""
    loaded = load_settings({"registry": "local:", **settings}, environ={})
    return Mesh(module_of(cls), settings=loaded, overrides={} if source is None else {ValueSource: source})


async def becomes(value: Value[Any], expected: object) -> None:
    """Return when a value is what is expected."""
    async with asyncio.timeout(5), aclosing(value.changes()) as changes:
        if value.get() != expected:
            async for new in changes:
                if new == expected:
                    return


async def test_changes_are_followed_newest_first():
    """What is set after `changes` was called is told; who is slow skips; the same again is no change."""
    value = Value("a")
    async with aclosing(value.changes()) as changes:
        value.set("b")
        value.set("c")
        assert await anext(changes) == "c"
        value.set("c")
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        assert not waiting.done()
        value.set("d")
        value.set("c")
        assert await waiting == "c"
    assert not value._followers
    assert repr(value) == "Value('c')"


async def test_a_value_is_set_by_another_thread():
    """The one who follows wakes up on its own loop."""
    value = Value(1)
    async with aclosing(value.changes()) as changes:
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        thread = threading.Thread(target=value.set, args=(2,))
        thread.start()
        async with asyncio.timeout(5):
            assert await waiting == 2
        thread.join()


async def test_a_source_gives_values_and_changes_them():
    """Plain parameters have the value of the start, a Value is the newest; text becomes the type, JSON a structure."""
    source = MemoryValueSource({"shop.currency": "USD", "shop.limit": "5", "shop.limits": '{"low": 1, "high": 2}'})
    async with mesh(source) as running:
        shop = await running.get(Shop)
        assert (shop.currency, shop.limit.get(), shop.limits.get()) == ("USD", 5, Limits(1, 2))
        assert shop.names.get() == ["none"]
        source.set("shop.limit", "6")
        source.set("shop.names", '["a", "b"]')
        source.set("shop.currency", "CHF")
        await becomes(shop.limit, 6)
        await becomes(shop.names, ["a", "b"])
        assert shop.currency == "USD"
        for key in ("shop.limit", "shop.limits", "shop.names"):
            source.delete(key)
        await becomes(shop.limit, 10)
        await becomes(shop.limits, None)
        await becomes(shop.names, ["none"])


async def test_what_is_made_later_follows_as_well():
    """A channel is made at the first call; its values change like all others."""
    source = MemoryValueSource({"strict.rate": "1"})
    async with mesh(source) as running:
        source.set("strict.rate", "2")
        await asyncio.sleep(0.01)
        strict = await running.runtime.injector.make(Strict)
        assert strict.rate.get() == 2.0
        source.set("strict.rate", "3")
        await becomes(strict.rate, 3.0)


async def test_without_a_source_a_value_is_what_the_settings_say():
    """A Value needs no source: it never changes then."""
    async with mesh(None, values={"shop": {"limit": 3, "names": ["x"]}}) as running:
        shop = await running.get(Shop)
        assert (shop.limit.get(), shop.names.get(), shop.limits.get()) == (3, ["x"], None)


async def test_what_is_written_for_this_process_comes_first(tmp_path):
    """Environment before file before source before default."""
    (tmp_path / "meshcore.toml").write_text('registry = "local:"\nvalues.shop = {currency = "CHF", limit = 2}')
    settings = load_settings(environ={"SHOP_LIMIT": "1"}, directory=tmp_path)
    source = MemoryValueSource({"shop.currency": "USD", "shop.limit": "3", "shop.names": '["n"]'})
    async with Mesh(module_of(Shop), settings=settings, overrides={ValueSource: source}) as running:
        shop = await running.get(Shop)
        assert (shop.currency, shop.limit.get(), shop.names.get(), shop.limits.get()) == ("CHF", 1, ["n"], None)
        source.set("shop.limit", "4")
        source.set("shop.names", '["m"]')
        await becomes(shop.names, ["m"])
        assert shop.limit.get() == 1


async def test_a_wrong_value_is_said_and_the_last_right_one_stays(caplog):
    """It is logged once, with its key and the reason; also one that is deleted and has no default."""
    source = MemoryValueSource({"strict.rate": "0.5"})
    async with mesh(source, Strict) as running:
        strict = await running.get(Strict)
        source.set("strict.rate", "much")
        await asyncio.sleep(0.01)
        source.set("other", "1")
        await asyncio.sleep(0.01)
        assert strict.rate.get() == 0.5
        assert caplog.text.count("the setting 'strict.rate' does not fit: Expected `float`, got `str`") == 1
        source.delete("strict.rate")
        await asyncio.sleep(0.01)
        assert strict.rate.get() == 0.5
        assert "no setting gives 'strict.rate'" in caplog.text
        source.set("strict.rate", "0.75")
        await becomes(strict.rate, 0.75)


@pytest.mark.parametrize(
    ("values", "text"),
    [({}, "Strict(rate): no setting gives 'strict.rate'"), ({"strict.rate": "x"}, "Strict(rate): the setting 'strict")],
)
async def test_a_value_that_is_missing_or_wrong_at_the_start(values, text):
    """The mesh does not start, and says which."""
    with pytest.raises(ConfigurationError) as caught:
        async with mesh(MemoryValueSource(values), Strict):
            pass
    assert text in caught.value.message


async def test_a_value_without_its_mark():
    """The text says how to write it."""
    with pytest.raises(ConfigurationError, match=r"write Annotated\[.*Value\[int\], inject_value"):
        async with mesh(None, Unfit):
            pass


async def test_a_source_that_does_not_answer_fails_the_start_unless_nobody_needs_it(caplog):
    """Not even a default helps: it is what the developer thought of. What the environment says does."""
    source = MemoryValueSource(None)
    settings = load_settings({"values": {"a": 1}}, environ={"B": "2"})
    async with LiveValues(settings, source, timeout=0.01) as values:
        assert not values.source_needed
        assert (values.lookup("a"), values.lookup("b")) == (1, "2")
        with pytest.raises(UnresolvedError, match="it has not answered yet"):
            values.lookup("c")
        assert values.source_needed
        await values.start_source()
        with pytest.raises(
            UnresolvedError, match=r"'c' would come from the setting value_source, which fails: no answer"
        ):
            values.lookup("c")
        source.set("c", "3")
        await asyncio.sleep(0.01)
        assert values.lookup("c") == "3"
        source.fail(CommunicationError(Code.UNAVAILABLE, "away"))
        await asyncio.sleep(0.01)
        assert values.lookup("c") == "3"
        assert "values stay as they are: unavailable: away" in caplog.text
        source.set("c", "4")
        await asyncio.sleep(0.01)
        assert values.lookup("c") == "4"
        assert "the value source answers again" in caplog.text


async def test_a_source_that_nobody_needs_is_not_asked():
    """What is given otherwise never changes: no connection, no waiting."""
    source = MemoryValueSource(None)
    values = {"shop": {"currency": "EUR", "limit": 1, "limits": '{"low": 1, "high": 2}', "names": []}}
    async with asyncio.timeout(3), mesh(source, values=values) as running:
        assert (await running.get(Shop)).limit.get() == 1
        assert not source._view._followers
        assert all(task.get_name() != "meshcore.values" for task in asyncio.all_tasks())


async def test_a_source_that_refuses_is_not_waited_for():
    """Time would not heal it."""
    source = MemoryValueSource(None)
    source.fail(AuthorizationError(Code.PERMISSION_DENIED, "not you"))
    with pytest.raises(ConfigurationError, match=r"(?s)value_source, which fails: permission_denied: not you"):
        async with asyncio.timeout(3), mesh(source):
            pass


class Broken(MemoryValueSource):
    """A source with a mistake."""

    async def watch(self):
        """Two views, the second never comes."""
        yield {"shop.limit": "7"}
        raise ZeroDivisionError


async def test_a_mistake_in_a_source_ends_nothing(caplog):
    """Values stay as they are; the log has the traceback."""
    async with mesh(Broken({})) as running:
        shop = await running.get(Shop)
        await asyncio.sleep(0.01)
        assert shop.limit.get() == 7
    assert "does not work any more" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_nothing_is_left(caplog):
    """No task and no follower when the mesh has stopped, also when its start failed."""
    source = MemoryValueSource({})
    before = asyncio.all_tasks()
    async with mesh(source):
        assert any(task.get_name() == "meshcore.values" for task in asyncio.all_tasks())
    with pytest.raises(ConfigurationError):
        async with mesh(source, Strict):
            pass
    assert asyncio.all_tasks() == before
    assert not source._view._followers


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("conzul://host/prefix", "setting value_source: no value source 'conzul'"),
        ("consul://host:8500", "setting value_source: consul: values need a prefix"),
    ],
)
async def test_a_setting_that_names_no_source(source, text):
    """It is among the problems of the start."""
    with pytest.raises(ConfigurationError) as caught:
        async with mesh(None, value_source=source):
            pass
    assert text in caught.value.message


async def test_an_override_that_is_no_source():
    """It has to be an object, since values are known before anything is made."""
    settings = load_settings({"registry": "local:"}, environ={})
    with pytest.raises(ConfigurationError, match="the override of ValueSource has to be an object"):
        async with Mesh(module_of(Shop), settings=settings, overrides={ValueSource: MemoryValueSource}):
            pass
