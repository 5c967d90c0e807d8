"""Which numbers govern which call: the layers of policies of one mesh, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from meshcore.core.description import ComponentDescription, Method, ServiceDescription
from meshcore.core.errors import Code, LocalError
from meshcore.core.policy import OFF, Policy, Resolved, Rules, resolve
from meshcore.core.settings import Settings
from meshcore.core.suggest import closest, did_you_mean

Layer = tuple[str, Policy | None]

_UNBOUND: Layer = ("none for calls in this process", Policy(timeout=inf))


class Policies:
    """Merges defaults, what interfaces say, settings and what a caller says; what comes later wins.

    The setting `timeout` is a default of one's own: the interface, which knows its methods, overrules it. A table of
    the setting `policies` names what it is about, and overrules the interface. `resilience = false` is for who wants to
    see each call as it is, so it overrules all, but of timeouts it says nothing.

    Attributes:
        resilient: whether what failed or is slow is repeated at all.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.resilient = settings.resilience
        source = settings.sources.get("timeout", "argument")
        self._defaults: list[Layer] = []
        if source != "default":
            self._defaults.append((f"setting timeout ({source})", Policy(timeout=settings.timeout)))
        self._off: list[Layer] = [] if settings.resilience else [("setting resilience", OFF)]

    def of_component(self, component: ComponentDescription) -> Resolved:
        """The rules that all calls to a component share."""
        own: Layer = (f"component {component.name}", component.policy)
        return resolve([*self._defaults, own, self._named(component.name), *self._off])

    def of_method(
        self, component: ComponentDescription, service: ServiceDescription, method: Method, caller: Policy | None = None
    ) -> Resolved:
        """The rules of one method's calls."""
        return resolve([*self._defaults, *self._said(component, service, method), ("call", caller), *self._off])

    def of_local_method(
        self,
        component: ComponentDescription | None,
        service: ServiceDescription,
        method: Method,
        caller: Policy | None = None,
    ) -> Resolved:
        """The same within the process, where only the timeout counts, and only one that somebody set for these calls.

        The defaults are for what may hang elsewhere: here a timer for each call would cost more than the call. A method
        that is shielded would be cancelled at its end, as no server stands between it and its caller.
        """
        said = [] if method.shielded else self._said(component, service, method)
        return resolve([_UNBOUND, *said, ("call", caller)])

    def rules(
        self, component: ComponentDescription, service: ServiceDescription, caller: Policy | None = None
    ) -> Mapping[Method, Rules]:
        """The rules of all methods of a service."""
        return {method: self.of_method(component, service, method, caller).rules for method in service.methods}

    def local_rules(
        self, component: ComponentDescription | None, service: ServiceDescription, caller: Policy | None = None
    ) -> Mapping[Method, Rules]:
        """The same within the process."""
        return {method: self.of_local_method(component, service, method, caller).rules for method in service.methods}

    def _said(self, component: ComponentDescription | None, service: ServiceDescription, method: Method) -> list[Layer]:
        """What is said of a method by name, wherever it is; without a component if several offer it."""
        by_component = [(f"component {component.name}", component.policy)] if component else []
        return [
            *by_component,
            (f"interface {service.name}", service.policy),
            (f"method {method}", method.policy),
            *([self._named(component.name)] if component else []),
            self._named(service.name),
            self._named(str(method)),
        ]

    def doubts(self, components: Iterable[ComponentDescription]) -> list[str]:
        """Names in the setting `policies` that nobody has here, but nearly. Other processes may share the settings."""
        _, known = _names(components)
        return [
            f"setting policies: nothing here is called {name!r}{did_you_mean(name, known)}"
            for name in self._settings.policies
            if name not in known and closest(name, known) is not None
        ]

    def problems(self, components: Iterable[ComponentDescription]) -> list[str]:
        """What the setting `policies` says that cannot be, as far as these components tell."""
        found: list[str] = []
        owners, known = _names(components)
        for name, policy in self._settings.policies.items():
            owner, dot, _ = name.partition(".")
            if dot and owner in known and name not in known:
                found.append(f"setting policies: no method {name!r}{did_you_mean(name, known)}")
            if policy.shared and name in known - owners:
                text = ", ".join(policy.shared)
                found.append(f"setting policies.{name}: {text}: shared by all calls to a component, so set it there")
        return found

    def _named(self, name: str) -> Layer:
        return f"setting policies.{name}", self._settings.policies.get(name)


def _names(components: Iterable[ComponentDescription]) -> tuple[set[str], set[str]]:
    """The names of components; and those of services and methods as well."""
    owners: set[str] = set()
    known: set[str] = set()
    for component in components:
        owners.add(component.name)
        for service in component.services:
            known.add(service.name)
            known.update(str(method) for method in service.methods)
    return owners, owners | known


def merged(first: Policy | None, second: Policy) -> Policy:
    """Both policies of a caller, of which the second counts where both say something.

    Raises:
        LocalError: INVALID_ARGUMENT, it says something that is not a call's to say.
    """
    if second.shared:
        text = f"{', '.join(second.shared)}: shared by all calls to a component, so no single call can set it"
        raise LocalError(Code.INVALID_ARGUMENT, f"policy: {text}")
    if first is None:
        return second
    values = {name: getattr(policy, name) for policy in (first, second) for name in policy.given}
    return Policy(**values)
