"""`meshcore why --as`: whether a caller may call a method, and which rule says so."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import msgspec

from meshcore.core.access import AccessRule, decode_rules
from meshcore.core.caller import ANONYMOUS, Caller, Proof
from meshcore.core.description import ComponentDescription, Method
from meshcore.core.errors import ConfigurationError
from meshcore.core.instances import Failed
from meshcore.core.settings import Settings
from meshcore.ports.installed import make_value_source
from meshcore.security.authorization.rules import Judge, targets_of

_WAIT = 5.0
"""Seconds to wait for the rules of the value source."""

NOBODY = "anonymous"


class Access(msgspec.Struct, frozen=True):
    """Whether a caller may call a method.

    Attributes:
        caller: who calls.
        method: what it calls.
        allowed: whether it may.
        by: what decides.
        remark: what else there is to know, empty for nothing.
    """

    caller: str
    method: str
    allowed: bool
    by: str
    remark: str = ""

    def __str__(self) -> str:
        """As a sentence."""
        word = "may call" if self.allowed else "may not call"
        return f"{self.caller} {word} {self.method}: {self.by}" + (f" ({self.remark})" if self.remark else "")


async def access_of(settings: Settings, component: ComponentDescription, called: Method, who: str) -> Access:
    """Judge a call as a server with these settings would.

    Args:
        settings: have rules, and say where there are more.
        component: that offers the method.
        called: what is called.
        who: calls: a component, a SPIFFE id, or "anonymous".

    Raises:
        ConfigurationError: the rules cannot be read.
    """
    rules = (*settings.rules, *await _live_rules(settings))
    judge = Judge(rules, targets_of([component]))
    (method,) = (method for service in component.services for method in service.methods if str(method) == str(called))
    verdict = judge.judge(method, _caller(who))
    remark = ""
    if not settings.module:
        remark = "by rules only: what the interface allows is known with --module"
    elif settings.authorization == "audit":
        remark = "audit: nothing is refused"
    elif settings.authorization == "off":
        remark = "authorization is off: nothing is refused"
    elif settings.authorization.startswith("consul"):
        remark = "Consul's intentions count, too"
    return Access(who, str(method), verdict.allowed, verdict.rule, remark)


def _caller(who: str) -> Caller:
    if who == NOBODY:
        return ANONYMOUS
    if "/" in who:
        return Caller(who, who.rstrip("/").rpartition("/")[2], Proof.CERTIFICATE)
    return Caller("", who, Proof.CERTIFICATE)


async def _live_rules(settings: Settings) -> tuple[AccessRule, ...]:
    if not settings.rules_key:
        return ()
    title = "The rules cannot be read"
    try:
        source = make_value_source(settings.value_source)
    except ValueError as error:
        raise ConfigurationError(title, [f"setting value_source: {error}"]) from error
    cause = "it does not answer"
    try:
        async with asyncio.timeout(_WAIT), aclosing(source.watch()) as views:
            async for view in views:
                if not isinstance(view, Failed):
                    raw = view.get(settings.rules_key)
                    return () if raw is None else decode_rules(raw, settings.rules_key)
                cause = str(view.cause)
    except TimeoutError:
        pass
    raise ConfigurationError(title, [f"setting value_source: {cause}"])
