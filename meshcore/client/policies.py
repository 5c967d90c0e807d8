"""Merges the policies of a mesh into the rules of each method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from meshcore.core.description import ComponentDescription, Method, ServiceDescription
from meshcore.core.errors import Code, LocalError
from meshcore.core.policy import OFF, Policy, Resolved, Rules, resolve
from meshcore.core.settings import Settings
from meshcore.core.suggest import closest, did_you_mean

Layer = tuple[str, Policy | None]
"""Who set a policy, and the policy."""

_NO_TIMEOUT: Layer = ("none for calls in this process", Policy(timeout=inf, idle=inf))


class Policies:
    """Merges the policies that apply to a call.

    These are the layers. Later ones win:

    1. the defaults, and the setting `timeout`, which replaces a default
    2. the component, the interface and the method, as declared
    3. the setting `policies`: the tables of the component, the service and the method
    4. the caller (`with_policy`)
    5. the setting `resilience = false`, which turns off retries, hedging and ejection, but keeps timeouts

    Attributes:
        resilient: whether calls are retried and hedged at all.
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
        """The rules for what all calls to a component share."""
        own: Layer = (f"component {component.name}", component.policy)
        return resolve([*self._defaults, own, self._setting(component.name), *self._off])

    def of_method(
        self, component: ComponentDescription, service: ServiceDescription, method: Method, caller: Policy | None = None
    ) -> Resolved:
        """The rules of one method's calls.

        Args:
            component: offers the service.
            service: has the method.
            method: is called.
            caller: the policy of the caller, None if it has none.
        """
        return resolve([*self._defaults, *self._of_named(component, service, method), ("call", caller), *self._off])

    def of_local_method(
        self,
        component: ComponentDescription | None,
        service: ServiceDescription,
        method: Method,
        caller: Policy | None = None,
    ) -> Resolved:
        """The rules of a method's calls within the process: only timeouts that are set explicitly count.

        There is no default timeout, as a timer for each call would cost more than the call. A shielded method has only
        the timeout of its caller: it would be cancelled then, since no server stands between it and its caller.
        """
        declared = [] if method.shielded else self._of_named(component, service, method)
        return resolve([_NO_TIMEOUT, *declared, ("call", caller)])

    def rules(
        self, component: ComponentDescription, service: ServiceDescription, caller: Policy | None = None
    ) -> Mapping[Method, Rules]:
        """The rules of all methods of a service."""
        return {method: self.of_method(component, service, method, caller).rules for method in service.methods}

    def local_rules(
        self, component: ComponentDescription | None, service: ServiceDescription, caller: Policy | None = None
    ) -> Mapping[Method, Rules]:
        """The rules of all methods of a service, for calls within the process."""
        return {method: self.of_local_method(component, service, method, caller).rules for method in service.methods}

    def _of_named(
        self, component: ComponentDescription | None, service: ServiceDescription, method: Method
    ) -> list[Layer]:
        """The layers 2 and 3. The component is None if several offer the service."""
        by_component = [(f"component {component.name}", component.policy)] if component else []
        return [
            *by_component,
            (f"interface {service.name}", service.policy),
            (f"method {method}", method.policy),
            *([self._setting(component.name)] if component else []),
            self._setting(service.name),
            self._setting(str(method)),
        ]

    def warnings(self, components: Iterable[ComponentDescription]) -> list[str]:
        """Names in the setting `policies` that look misspelt. They are no errors: other processes may know them."""
        _, known = _names(components)
        return [
            f"setting policies: nothing here is called {name!r}{did_you_mean(name, known)}"
            for name in self._settings.policies
            if name not in known and closest(name, known) is not None
        ]

    def problems(self, components: Iterable[ComponentDescription]) -> list[str]:
        """What is wrong in the setting `policies`, as far as these components tell."""
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

    def _setting(self, name: str) -> Layer:
        return f"setting policies.{name}", self._settings.policies.get(name)


def _names(components: Iterable[ComponentDescription]) -> tuple[set[str], set[str]]:
    """The names of the components; and the names of all components, services and methods."""
    owners: set[str] = set()
    known: set[str] = set()
    for component in components:
        owners.add(component.name)
        for service in component.services:
            known.add(service.name)
            known.update(str(method) for method in service.methods)
    return owners, owners | known


def merged(first: Policy | None, second: Policy) -> Policy:
    """Merge two policies of a caller. The second wins.

    Raises:
        LocalError: INVALID_ARGUMENT, the second sets a field that only a component can set.
    """
    if second.shared:
        text = f"{', '.join(second.shared)}: shared by all calls to a component, so no single call can set it"
        raise LocalError(Code.INVALID_ARGUMENT, f"policy: {text}")
    if first is None:
        return second
    values = {name: getattr(policy, name) for policy in (first, second) for name in policy.given}
    return Policy(**values)
