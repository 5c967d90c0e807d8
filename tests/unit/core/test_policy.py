"""Policies: what may be said, by whom, and whose word counts."""

from __future__ import annotations

import asyncio
import math
import random
import time
import weakref
from abc import abstractmethod
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshcore import (
    AbstractComponent,
    Code,
    CommunicationError,
    Component,
    ConfigurationError,
    LocalError,
    Mesh,
    Policy,
    Service,
    Settings,
    affinity,
    component,
    describe,
    idempotent,
    implementation,
    load_settings,
    module,
    service,
    shielded,
    with_policy,
)
from meshcore.client.policies import Policies
from meshcore.core.call import ambient_deadline
from meshcore.core.policy import DEFAULTS, Rules
from meshcore.declare.reader import describe_component
from meshcore.traffic.traffic import Traffic


@service()
@Policy(timeout=2.0, attempts=5)
class Shop(Service):
    @abstractmethod
    @idempotent
    @Policy(timeout=3.0)
    async def look(self, customer: str) -> str: ...

    @abstractmethod
    @affinity("customer")
    async def buy(self, sku: str, customer: str) -> str: ...


@Policy(timeout=1.0, retry_ratio=0.1)
@component(services=[Shop])
class ShopComponent(Component): ...


SHOP = describe_component(ShopComponent, [])
LOOK, BUY = SHOP.services[0].methods


def timeouts(settings: Settings, caller: Policy | None = None) -> tuple[float, float, float]:
    """Of the component, of `look` and of `buy`."""
    policies = Policies(settings)
    look, buy = (policies.of_method(SHOP, SHOP.services[0], method, caller).rules.timeout for method in (LOOK, BUY))
    return policies.of_component(SHOP).rules.timeout, look, buy


def test_a_policy_and_its_rules_have_the_same_fields() -> None:
    """What can be said is what counts; the defaults fit."""
    assert Policy.__struct_fields__ == Rules.__struct_fields__
    assert Policy(**msgspec.structs.asdict(DEFAULTS)).given == Policy.__struct_fields__


def test_whose_word_counts() -> None:
    """The narrower says more than the wider, settings more than interfaces, the caller most of all."""
    plain = load_settings({}, environ={})
    assert timeouts(plain) == (1.0, 3.0, 2.0)
    assert timeouts(load_settings({"timeout": 7.0}, environ={})) == (1.0, 3.0, 2.0)
    named = {"policies": {"shop-component": {"timeout": 20.0}, "shop.buy": {"timeout": 30.0}}}
    assert timeouts(load_settings(named, environ={})) == (20.0, 20.0, 30.0)
    assert timeouts(load_settings(named, environ={}), Policy(timeout=40.0)) == (20.0, 40.0, 40.0)
    resolved = Policies(load_settings(named, environ={})).of_method(SHOP, SHOP.services[0], BUY)
    assert resolved.sources["timeout"] == "setting policies.shop.buy"
    assert resolved.sources["attempts"] == "interface shop"
    assert resolved.sources["back_off"] == "default"


def test_the_setting_timeout_is_a_default_of_ones_own() -> None:
    """It holds where no interface says otherwise."""

    @component(services=[Shop])
    class Bare(Component): ...

    bare = describe_component(Bare, [])
    resolved = Policies(load_settings({"timeout": 7.0}, environ={})).of_component(bare)
    assert (resolved.rules.timeout, resolved.sources["timeout"]) == (7.0, "setting timeout (argument)")


def test_resilience_off() -> None:
    """One setting leaves deadlines and fairness, whatever interfaces, tables and callers say."""
    said = Policy(balance="first", attempts=7, max_ejected=0.3, timeout=30.0, retry_ratio=0.5)
    settings = load_settings({"resilience": False, "policies": {"shop-component": said}}, environ={})
    policies = Policies(settings)
    assert not policies.resilient
    caller = Policy(balance="random", attempts=9, max_extra_load=0.5)
    resolved = policies.of_method(SHOP, SHOP.services[0], LOOK, caller)
    for rules in (resolved.rules, policies.of_component(SHOP).rules):
        assert (rules.max_extra_load, rules.max_ejected, rules.balance) == (0.0, 0.0, "round-robin")
        assert (rules.attempts, rules.retry_ratio, rules.timeout) == (1, 0.0, 30.0)
    assert (resolved.sources["attempts"], resolved.sources["timeout"]) == (
        "setting resilience",
        "setting policies.shop-component",
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"timeout": 0.0}, "policy: timeout must be a number of seconds above 0, got 0.0"),
        ({"timeout": "fast"}, "policy: timeout must be a number of seconds above 0, got 'fast'"),
        ({"timeout": float("nan")}, "policy: timeout must be a number of seconds above 0, got nan"),
        ({"attempts": 0}, "policy: attempts must be a whole number above 0, got 0"),
        ({"attempts": True}, "policy: attempts must be a whole number above 0, got True"),
        ({"max_ejected": 2}, "policy: max_ejected must be a number from 0 to 1, got 2"),
        (
            {"balance": "best"},
            "policy: balance must be one of least-loaded, round-robin, first, random, got 'best'",
        ),
    ],
)
def test_what_does_not_fit(fields: dict[str, Any], text: str) -> None:
    """The field is named, and what it takes."""
    with pytest.raises(LocalError) as refused:
        Policy(**fields)
    assert refused.value.message == text


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    """All of them at once, each with its place."""
    (tmp_path / "meshcore.toml").write_text(
        '[policies]\nshop = 3\n[policies."shop.look"]\ntimout = 1.0\n[policies."shop.buy"]\nattempts = "many"\n'
    )
    with pytest.raises(ConfigurationError) as refused:
        load_settings({}, environ={"MESHCORE_POLICIES": "x"}, directory=tmp_path)
    assert refused.value.problems == (
        "meshcore.toml: policies.shop must be a table, got 3",
        "meshcore.toml: policies.shop.look: policy: no field 'timout'; did you mean 'timeout'?",
        "meshcore.toml: policies.shop.buy: policy: attempts must be a whole number above 0, got 'many'",
        "environment MESHCORE_POLICIES: policies are tables; write them in meshcore.toml",
    )


def test_names_in_settings_that_nobody_has() -> None:
    """A misspelt method of a known service is found; what is shared is a component's to say."""
    settings = load_settings({"policies": {"shop.by": {"timeout": 1.0}, "shop": {"retry_ratio": 0.5}}}, environ={})
    assert Policies(settings).problems([SHOP]) == [
        "setting policies: no method 'shop.by'; did you mean 'shop.buy'?",
        "setting policies.shop: retry_ratio: shared by all calls to a component, so set it there",
    ]


def test_names_in_settings_that_are_nearly_known() -> None:
    """A name that resembles one of this process is doubted; it may be another process's, so it is no error."""
    settings = load_settings({"policies": {"shopp": {"timeout": 1.0}, "billing": {"timeout": 1.0}}}, environ={})
    policies = Policies(settings)
    assert policies.problems([SHOP]) == []
    assert policies.warnings([SHOP]) == ["setting policies: nothing here is called 'shopp'; did you mean 'shop'?"]


def test_declarations_that_cannot_be() -> None:
    """An affinity to no parameter, and what is shared on a method or an interface."""

    @service()
    @Policy(concurrency=5)
    class Wrong(Service):
        @abstractmethod
        @affinity("custom")
        @Policy(success_rate=0.5)
        async def buy(self, customer: str) -> str: ...

    with pytest.raises(ConfigurationError) as refused:
        describe(Wrong)
    place = f"{Wrong.__qualname__}"
    assert refused.value.problems == (
        f"{place}.buy: @affinity: no parameter 'custom'; did you mean 'customer'?",
        f"{place}.buy: policy: success_rate: shared by all calls to a component, so set it there",
        f"{place}: policy: concurrency: shared by all calls to a component, so set it there",
    )


@implementation()
class ShopImpl(Shop):
    async def look(self, customer: str) -> str:
        return customer

    async def buy(self, sku: str, customer: str) -> str:
        return sku


@implementation()
class ShopComponentImpl(AbstractComponent, ShopComponent): ...


@module(provides=[ShopImpl, ShopComponentImpl])
class ShopModule: ...


async def test_a_service_with_a_policy() -> None:
    """It is the same service; what one caller says adds up; what no call can say is refused."""
    async with Mesh(ShopModule, settings=load_settings({"registry": "local:"}, environ={})) as mesh:
        shop = await mesh.get_service(Shop)
        hasty = with_policy(shop, Policy(timeout=0.2))
        assert await hasty.look("you") == "you"
        assert with_policy(shop, Policy(timeout=0.2)) is hasty
        assert "timeout=0.2" in repr(with_policy(hasty, Policy(attempts=1)))
        with pytest.raises(LocalError, match="retry_ratio: shared by all calls to a component"):
            with_policy(shop, Policy(retry_ratio=0.5))
    with pytest.raises(LocalError, match="ShopImpl is no proxy of a service"):
        with_policy(ShopImpl(), Policy(timeout=0.2))


async def test_policies_that_are_different_each_time() -> None:
    """A proxy that nobody has any more goes, one that somebody has is the same as long as it lives, and stops."""
    async with Mesh(ShopModule, settings=load_settings({"registry": "local:"}, environ={})) as mesh:
        shop = await mesh.get_service(Shop)
        kept = with_policy(shop, Policy(timeout=1.0))
        others: list[weakref.ref[Shop]] = []
        for number in range(1000):
            other = with_policy(shop, Policy(timeout=2.0 + number))
            assert await other.look("you") == "you"
            others.append(weakref.ref(other))
        assert sum(each() is not None for each in others) == 256
        assert with_policy(shop, Policy(timeout=1.0)) is kept
    with pytest.raises(LocalError, match="the mesh has stopped"):
        await kept.look("you")


def test_budgets_of_hedges_are_few() -> None:
    """That of a share that is used stays the same, that of another each time is forgotten."""
    traffic = Traffic("shop", DEFAULTS, time.monotonic, random.Random(1))
    used = traffic.hedges(0.5)
    other = weakref.ref(traffic.hedges(0.4))
    for number in range(1000):
        traffic.hedges(number / 10_000)
        assert traffic.hedges(0.5) is used
    assert other() is None


async def test_a_deadline_of_a_local_call() -> None:
    """A policy of a caller bounds a local call as any other."""

    @implementation()
    class Slow(ShopImpl):
        async def look(self, customer: str) -> str:
            import asyncio  # noqa: PLC0415

            await asyncio.sleep(60)
            return customer

    overrides = {Shop: Slow}
    settings = load_settings({"registry": "local:"}, environ={})
    async with Mesh(ShopModule, settings=settings, overrides=overrides) as mesh:
        shop = with_policy(await mesh.get_service(Shop), Policy(timeout=0.05))
        with pytest.raises(CommunicationError) as late:
            await shop.look("you")
    assert late.value.code is Code.DEADLINE_EXCEEDED


@service()
class Ledger(Service):
    @abstractmethod
    @Policy(timeout=0.05)
    async def quick(self, seconds: float) -> float: ...

    @abstractmethod
    async def plain(self, seconds: float) -> float: ...

    @abstractmethod
    @shielded
    async def careful(self, seconds: float) -> float: ...


@service()
class Archive(Service):
    @abstractmethod
    async def left(self) -> float: ...


@component(services=[Ledger, Archive])
class LedgerComponent(Component): ...


@implementation()
class LedgerImpl(Ledger):
    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    async def quick(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return await self.archive.left()

    async def plain(self, seconds: float) -> float:
        return await self.quick(seconds)

    async def careful(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return ambient_deadline.get()


@implementation()
class ArchiveImpl(Archive):
    async def left(self) -> float:
        return ambient_deadline.get() - time.monotonic()


@implementation()
class LedgerComponentImpl(AbstractComponent, LedgerComponent): ...


@module(provides=[LedgerImpl, ArchiveImpl, LedgerComponentImpl])
class LedgerModule: ...


async def test_timeouts_of_calls_within_the_process() -> None:
    """Those that somebody has set for these calls count, and `why` tells which; the default and the setting do not."""
    settings = load_settings({"registry": "local:", "timeout": 0.05}, environ={})
    async with Mesh(LedgerModule, settings=settings) as mesh:
        ledger = await mesh.get_service(Ledger)
        with pytest.raises(CommunicationError, match="quick was not answered within"):
            await ledger.quick(5.0)
        assert dict(mesh.why(Ledger, "quick").rules) == {"timeout": (0.05, "method ledger.quick")}
        assert await ledger.plain(0.1) == math.inf
        unbound = {"timeout": (math.inf, "none for calls in this process")}
        assert dict(mesh.why(Ledger, "plain").rules) == dict(mesh.why(Archive, "left").rules) == unbound
        assert await with_policy(ledger, Policy(attempts=3)).plain(0.1) == math.inf
    for name in ("ledger", "ledger-component", "ledger.plain"):
        policies = {name: Policy(timeout=0.05)}
        async with Mesh(LedgerModule, settings=msgspec.structs.replace(settings, policies=policies)) as mesh:
            ledger = await mesh.get_service(Ledger)
            with pytest.raises(CommunicationError, match="plain was not answered within"):
                await ledger.plain(5.0)
            assert dict(mesh.why(Ledger, "plain").rules) == {"timeout": (0.05, f"setting policies.{name}")}
            assert await ledger.careful(0.1) == math.inf  # nothing would go on with it


async def test_what_a_call_within_the_process_calls_has_its_deadline() -> None:
    """As below a server; and afterwards it is as before."""
    async with Mesh(LedgerModule, settings=load_settings({"registry": "local:"}, environ={})) as mesh:
        ledger = with_policy(await mesh.get_service(Ledger), Policy(timeout=3.0))
        assert 2 < await ledger.plain(0.0) < 3
        assert ambient_deadline.get() == math.inf
        archive = with_policy(await mesh.get_service(Archive), Policy(timeout=60.0))
        token = ambient_deadline.set(time.monotonic() + 1.0)
        assert 0 < await archive.left() < 1
        ambient_deadline.set(time.monotonic())
        with pytest.raises(CommunicationError, match="its caller's deadline had passed"):
            await archive.left()
        ambient_deadline.reset(token)
