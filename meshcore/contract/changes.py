"""Lists the changes between two versions of a contract, and which of them break callers of the old version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import NODEFAULT, UNSET

from meshcore.contract.compatible import default_change, members_of
from meshcore.contract.contract import (
    Contract,
    ExceptionContract,
    MethodContract,
    ParameterContract,
    ServiceContract,
    Structure,
)
from meshcore.contract.type_changes import TypeComparison


class Change(msgspec.Struct, frozen=True):
    """One change.

    Attributes:
        component: the name of the component.
        subject: `service.method`, `service`, or `component NAME`.
        text: the change, for people.
        breaking: whether callers of the old version may fail with the new one.
    """

    component: str
    subject: str
    text: str
    breaking: bool

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


def compare(old: Contract, new: Contract) -> list[Change]:
    """Return all changes for callers that were written for the old version and call the new one.

    Names count as well as types: callers write the names of parameters, and REST sends them, although the dispatch
    channels send arguments by position. Descriptions and names of classes do not count.
    """
    olds, news = ({component.name: component for component in each.components} for each in (old, new))
    found: list[Change] = []
    for name, component in olds.items():
        if name not in news:
            found.append(Change(name, f"component {name}", "is gone", breaking=True))
            continue
        services = {service.name: service for service in news[name].services}
        for service in component.services:
            found += compare_services(name, service, services.get(service.name))
        known = {service.name for service in component.services}
        found += [Change(name, each, "is new", breaking=False) for each in services if each not in known]
    found += [Change(each, f"component {each}", "is new", breaking=False) for each in news if each not in olds]
    return found


def compare_services(component: str, old: ServiceContract, new: ServiceContract | None) -> list[Change]:
    """Return the changes of one service. `new` is None if it is gone."""
    if new is None:
        return [Change(component, old.name, "is gone", breaking=True)]
    methods = {method.name: method for method in new.methods}
    known = {method.name for method in old.methods}
    found: list[Change] = []
    for method in old.methods:
        subject = f"{old.name}.{method.name}"
        if method.name not in methods:
            found.append(Change(component, subject, "is gone", breaking=True))
            continue
        comparison = _MethodComparison(old.types, new.types)
        comparison.compare(method, methods[method.name])
        found += [Change(component, subject, text, breaking) for text, breaking in comparison.found]
    found += [
        Change(component, f"{old.name}.{each}", "is new", breaking=False) for each in methods if each not in known
    ]
    return found


class _MethodComparison:
    """Collects the changes between two versions of a method."""

    def __init__(self, old: Mapping[str, Structure], new: Mapping[str, Structure]) -> None:
        self._old = old
        self._new = new
        self.found: list[tuple[str, bool]] = []

    def compare(self, old: MethodContract, new: MethodContract) -> None:
        renamed = self._parameters(old, new)
        received = self._types(sent=False)
        received.types(old.returns, new.returns, "result")
        self._take(received)
        self._raises(old.raises, new.raises, mapped=bool(old.http))
        self._http(old, new, renamed)
        self._repeat(old.repeat, new.repeat)
        self._resume(old.resume, new.resume)

    def _types(self, *, sent: bool) -> TypeComparison:
        return TypeComparison(self._old, self._new, sent=sent)

    def _take(self, comparison: TypeComparison) -> None:
        self.found += [(each.text, each.breaking) for each in comparison.found]

    def _say(self, text: str, *, breaking: bool) -> None:
        self.found.append((text, breaking))

    def _parameters(self, old: MethodContract, new: MethodContract) -> dict[str, str]:
        """Compare parameters. Returns the new names of renamed ones."""
        olds, news = old.parameters, new.parameters
        names, others = _names(olds), _names(news)
        renamed = {
            one: other
            for one, other in zip(names, others, strict=False)
            if one != other and one not in others and other not in names
        }
        sent = self._types(sent=True)
        by_name = {parameter.name: parameter for parameter in news}
        for at, parameter in enumerate(olds, 1):
            label = f"parameter {at} {parameter.name!r}"
            if parameter.name in renamed:
                self._say(f"{label} is now called {renamed[parameter.name]!r}", breaking=True)
            counterpart = by_name.get(renamed.get(parameter.name, parameter.name))
            if counterpart is None:
                self._say(f"{label} is gone", breaking=True)
                continue
            sent.types(parameter.type, counterpart.type, label)
            self._parameter(parameter, counterpart, label, mapped=bool(old.http and new.http))
        self._take(sent)
        common = [name for name in names if name in others]
        if (moved := [name for name in others if name in names]) != common:
            self._say(f"parameters are in another order: {', '.join(moved)}; was {', '.join(common)}", breaking=True)
        kept = {*names, *renamed.values()}
        for at, parameter in enumerate(news, 1):
            if parameter.name not in kept:
                self._added(f"parameter {at} {parameter.name!r}", parameter, not kept & set(others[at:]))
        return renamed

    def _added(self, label: str, parameter: ParameterContract, last: bool) -> None:  # noqa: FBT001
        if parameter.required:
            self._say(f"{label} is new and required", breaking=True)
        elif last:
            self._say(f"{label} is new and optional", breaking=False)
        else:
            self._say(f"{label} is new and not last, so those after it have moved", breaking=True)

    def _parameter(self, old: ParameterContract, new: ParameterContract, label: str, *, mapped: bool) -> None:
        if old.required != new.required:
            self._say(f"{label} is now {'required' if new.required else 'optional'}", breaking=new.required)
        if text := default_change(old, new):
            self._say(f"{label}: {text}", breaking=False)
        if old.given != new.given:
            ways = {"either": "by position or name", "name": "by name only", "position": "by position only"}
            self._say(f"{label} is given {ways[new.given]} now", breaking=new.given != "either")
        if mapped and old.source != new.source:
            self._say(f"{label} is in the {new.source} of a REST request now, was in the {old.source}", breaking=True)
        elif mapped and old.source.startswith(("query", "header")):
            self._absence(_absent(old), _absent(new), label)

    def _absence(self, old: Any, new: Any, label: str) -> None:
        """Compare what an absent parameter means: REST leaves out None and empty lists."""
        if (old is None or old == []) and new is not NODEFAULT and old != new:
            meaning = "another value" if new is UNSET else repr(new)
            self._say(
                f"{label} means {meaning} now if a REST request leaves it out, as it does for {old}", breaking=True
            )

    def _raises(self, old: Sequence[ExceptionContract], new: Sequence[ExceptionContract], *, mapped: bool) -> None:
        olds, news = {fault.name: fault for fault in old}, {fault.name: fault for fault in new}
        received = self._types(sent=False)
        added = [name for name in news if name not in olds]
        for name, fault in olds.items():
            other = news.get(name)
            if other is None:
                # If a new exception replaces it, callers that handle the old one miss it. The contract cannot tell.
                instead = f"; callers may get {' or '.join(added)} in its place" if added else ""
                self._say(f"{name} is not declared any more{instead}", breaking=bool(added))
                continue
            if fault.code != other.code:  # and with it the status of REST
                self._say(f"{name} has the code {other.code} now, had {fault.code}", breaking=mapped)
            received.fields(fault.fields, other.fields, name)
        self._take(received)
        for name in added:
            self._say(f"may raise {name} now; callers that do not know it get a RemoteError", breaking=False)

    def _http(self, old: MethodContract, new: MethodContract, renamed: Mapping[str, str]) -> None:
        if old.http and not new.http:
            self._say(f"REST does not reach it any more, was {old.http}", breaking=True)
        elif new.http and not old.http:
            self._say(f"REST reaches it now: {new.http}", breaking=False)
        elif old.http != new.http:
            # A request does not contain the name of a path parameter.
            same = re.sub(r"(?<=\{)\w+(?=\})", lambda name: renamed.get(name[0], name[0]), old.http)
            self._say(f"REST reaches it as {new.http} now, was {old.http}", breaking=same != new.http)
        if old.http and new.http and old.status != new.status:
            # Clients of meshcore accept any 2xx status. Those generated from the document may accept its status only.
            self._say(f"REST answers with {new.status} now, was {old.status}", breaking=True)

    def _repeat(self, old: str, new: str) -> None:
        """Callers repeat a call if their interface allows it. A server that does not expect that executes it twice."""
        if old != new:
            breaking = old == "freely" or (old == "with a key" and new == "")
            now, was = (f"may be repeated {each}" if each else "must not be repeated" for each in (new, old))
            self._say(f"{now}, before it {was}", breaking=breaking)

    def _resume(self, old: str, new: str) -> None:
        """Callers go on as their interface says. A server that expects something else sends items twice, or never."""
        if old != new:
            now, was = (f"is resumed by {each}" if each else "is not resumed" for each in (new, old))
            self._say(f"{now} now, before it {was.replace('is ', 'was ', 1)}", breaking=bool(old))


def _absent(parameter: ParameterContract) -> Any:
    """Return the value of a parameter that a request leaves out, as `TextParameter` reads it. NODEFAULT: an error."""
    if not parameter.required:
        return parameter.default
    members = members_of(parameter.type)
    if any(each.kind in {"none", "any"} for each in members):
        return None
    lists = any(each.kind in {"list", "set"} and not each.limits.get("min_length") for each in members)
    return [] if lists else NODEFAULT


def _names(parameters: Iterable[ParameterContract]) -> list[str]:
    return [parameter.name for parameter in parameters]
