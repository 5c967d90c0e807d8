"""What a mesh has seen of the components that it calls, for those who look at it from outside."""

from __future__ import annotations

from collections.abc import Iterator

from meshcore.client.destination import Destination
from meshcore.client.destinations import Destinations
from meshcore.core.instances import Instance
from meshcore.mesh.blueprint import Blueprint
from meshcore.telemetry.recorder import SeenDestination, SeenInstance
from meshcore.telemetry.tap.watch import CallWatch
from meshcore.traffic.least_loaded import LeastLoadedURLSelector


def seen(destinations: Destinations) -> Iterator[SeenDestination]:
    """Each component that is called, with its instances."""
    for name, destination in destinations.by_component.items():
        traffic = destination.traffic
        yield SeenDestination(
            name,
            traffic.ejection.count,
            traffic.retries.refused,
            tuple(_instance(destination, each) for each in destination.instances),
            tuple(destination.channels),
        )


def _instance(destination: Destination, instance: Instance) -> SeenInstance:
    ejection = destination.traffic.ejection
    state, pending = "draining", 0
    if instance.weight:  # the others are not known there
        monitor = ejection[instance.id]
        state, pending = "full" if instance.id in ejection.full else monitor.state.value, monitor.pending
    return SeenInstance(
        id=instance.id,
        url=instance.addresses[0].url if instance.addresses else "",
        version=instance.version,
        zone=instance.zone,
        weight=instance.weight,
        started=instance.started,
        state=state,
        pending=pending,
        latency=_latency(destination, instance),
        digest=instance.digest,
    )


def _latency(destination: Destination, instance: Instance) -> float | None:
    """Seconds that the URL selector of the first open channel expects of a call."""
    for name, channel in destination.channels.items():
        selector = channel.selector
        knows = instance.weight and instance.endpoint(name) and name not in destination.selector_errors
        if knows and isinstance(selector, LeastLoadedURLSelector):
            return selector.load(instance.id).cost(destination.traffic.clock()) or None
    return None


def watch_calls(watch: CallWatch, blueprint: Blueprint) -> None:
    """Tell a watch who this process is, and which of the calls that it serves are to be remembered."""
    watch.caller, watch.arguments = blueprint.caller, blueprint.settings.show_arguments
    watch.hosted = frozenset(hosted.component.name for hosted in blueprint.catalog.hosted)
    for hosted in blueprint.catalog.hosted:
        for service in hosted.component.services:
            rules = blueprint.policies.rules(hosted.component, service)
            watch.remember("served", hosted.component.name, rules)
