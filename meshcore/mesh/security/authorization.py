"""Makes the guard of a mesh from its declarations, its settings, and rules in the value source."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from meshcore.core.access import AccessRule, decode_rules
from meshcore.core.description import ComponentDescription
from meshcore.core.errors import ConfigurationError
from meshcore.core.marks import MISSING
from meshcore.core.settings import Settings
from meshcore.core.suggest import closest
from meshcore.core.value import Value
from meshcore.inject.values import LiveValue, UnresolvedError
from meshcore.mesh.blueprint import Blueprint
from meshcore.mesh.live_values import LiveValues
from meshcore.ports.installed import make_intention_source
from meshcore.ports.intentions import IntentionSource
from meshcore.security.authorization.guard import Authorization, Mode
from meshcore.security.authorization.intentions import FollowedIntentions
from meshcore.security.authorization.operators import OFF
from meshcore.security.authorization.rules import targets_of
from meshcore.telemetry.tables import ServedCalls

log = logging.getLogger(__name__)

AUDIT, CONSUL = "audit", "consul"


@asynccontextmanager
async def authorized(
    blueprint: Blueprint, values: LiveValues, served: ServedCalls
) -> AsyncGenerator[Authorization | None]:
    """The guard of a mesh, None if nothing is served that could be called. It follows rules and intentions.

    Args:
        blueprint: of the mesh.
        values: has the rules that may change.
        served: counts.

    Raises:
        ConfigurationError: two declarations contradict, or the rules in the value source or the intentions cannot be
            read.
    """
    settings = blueprint.settings
    components = [hosted.component for hosted in blueprint.catalog.hosted]
    if not components:
        yield None
        return
    if settings.authorization == OFF:  # tokens may have to be verified nevertheless
        yield Authorization({}, (), Mode.ENFORCE, served.deny)
        return
    mode = Mode.AUDIT if settings.authorization == AUDIT else Mode.ENFORCE
    found = Authorization(targets_of(components), settings.rules, mode, served.deny)
    if settings.rules_key:
        if blueprint.value_source is None:
            problem = f"setting rules_key: {settings.rules_key!r} is a key of the value source: set value_source, too"
            raise ConfigurationError(f"{blueprint.module.__name__} cannot start", [problem])
        await _follow(found, settings.rules_key, values, served)
    for text in [*found.judge.warnings, *_unknown_names(components, blueprint.catalog.described)]:
        log.warning(text)
    if not settings.authorization.startswith(CONSUL):
        yield found
        return
    names = [component.name for component in components]
    async with FollowedIntentions(_intention_source(settings), names, found):
        yield found


def _intention_source(settings: Settings) -> IntentionSource:
    url = settings.authorization if ":" in settings.authorization else f"{settings.authorization}:"
    try:
        return make_intention_source(url, settings.registry)
    except ValueError as error:
        raise ConfigurationError("The settings cannot be used", [f"setting authorization: {error}"]) from error


async def _follow(authorization: Authorization, key: str, values: LiveValues, served: ServedCalls) -> None:
    """Take over the rules of a key, now and whenever they change.

    Raises:
        ConfigurationError: the first ones cannot be read. To start without them could let in who is denied.
    """

    def read(raw: object) -> object:
        try:
            rules = () if raw is MISSING else decode_rules(raw, key)
            authorization.check(rules)
        except ConfigurationError as error:
            served.rules_refused += 1
            raise UnresolvedError(f"The rules cannot be used: {'; '.join(error.problems)}") from error
        return rules

    try:
        try:
            first = read(values.lookup(key))
        except UnresolvedError:
            if not values.source_needed:
                raise
            await values.start_source()
            first = read(values.lookup(key))
    except UnresolvedError as error:
        raise ConfigurationError("The rules of the value source cannot be used", [str(error)]) from error
    rules = _Rules(authorization)
    rules.set(first)
    values.add(LiveValue(key, rules, read))


class _Rules(Value[object]):
    """The rules of the value source. Whoever sets them changes what is allowed."""

    def __init__(self, authorization: Authorization) -> None:
        super().__init__(())
        self._authorization = authorization

    def set(self, value: object) -> None:
        if value != self.get():
            rules: tuple[AccessRule, ...] = value  # type: ignore[assignment]
            self._authorization.replace_rules(rules)
            super().set(value)
            log.info("took over %d rules of the value source", len(rules))


def _unknown_names(components: Iterable[ComponentDescription], described: Iterable[ComponentDescription]) -> list[str]:
    """The names in declarations that look like misspelt names of components that this process knows."""
    known = {component.name for component in described}
    found: dict[str, str] = {}
    for component in components:
        places = [(component.allowed, component.name)]
        for service in component.services:
            places.append((service.allowed, service.name))
            places += [(method.allowed, str(method)) for method in service.methods]
        for allowed, place in places:
            for name in allowed or ():
                if name not in known and (close := closest(name, known)) is not None:
                    found[name] = f"@allow of {place}: no component {name!r} is known here; did you mean {close!r}?"
    return list(found.values())
