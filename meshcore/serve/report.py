"""What a process reports of itself: at its start, with its settings, and while it runs, with its health."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import msgspec

from meshcore.core.description import ComponentDescription
from meshcore.core.masking import HIDDEN, without_secrets
from meshcore.core.settings import Settings
from meshcore.mesh.runtime import Runtime
from meshcore.serve.advertised_url import url_warnings
from meshcore.serve.logs import json_line
from meshcore.wire.endpoints import DOCS, OPENAPI, REPORT

log = logging.getLogger(__name__)

T = TypeVar("T")


def startup_report(runtime: Runtime, settings: Settings) -> dict[str, Any]:
    """What a mesh that has started serves, as plain data without secrets."""
    url = settings.advertise_url
    instances = {instance.component: instance for instance in runtime.hosting.instances(url)}
    report = {
        "module": settings.module,
        "url": url,
        "registry": {
            "type": type(runtime.registry).__name__,
            # If a module provides a registry of its own, the setting has no effect.
            "url": runtime.blueprint.registry_url,
        },
        "components": [
            {
                "name": hosted.component.name,
                "services": _services(hosted.component),
                "channels": [
                    {"channel": address.channel, "url": address.url}
                    for address in instances[hosted.component.name].addresses
                ],
                "health": instances[hosted.component.name].health,
            }
            for hosted in runtime.catalog.hosted
        ],
        "documents": [f"{url.rstrip('/')}{path}" for path in (DOCS, OPENAPI)] if settings.documents else [],
        "settings": list(_settings_of(settings)),
        "warnings": list(warnings_of(runtime, settings)),
    }
    return _without_secrets(report)


async def live_report(runtime: Runtime, url: str, *, ready: bool, active: int) -> dict[str, Any]:
    """What a process serves and how it is: the answer at `REPORT`.

    Args:
        runtime: of its mesh.
        url: its advertised URL.
        ready: whether it takes calls.
        active: how many calls run.
    """
    report = {
        "instance": runtime.identity,
        "ready": ready,
        "active": active,
        "registry": type(runtime.registry).__name__,
        "channels": sorted(runtime.blueprint.channels),
        "components": [
            {
                "name": hosted.component.name,
                "description": hosted.component.description,
                "health": (await runtime.hosting.health(hosted)).to_plain(),
                "services": _services(hosted.component),
            }
            for hosted in runtime.catalog.hosted
        ],
        "instances": msgspec.to_builtins(runtime.hosting.instances(url)),
    }
    return _without_secrets(report)


def _without_secrets(report: T) -> T:
    """Plain data without passwords and tokens in its texts: an advertised URL may have some."""
    shown: Any = report
    if isinstance(report, dict):
        shown = {key: _without_secrets(value) for key, value in cast("dict[str, Any]", report).items()}
    elif isinstance(report, list | tuple):
        shown = [_without_secrets(each) for each in cast("Sequence[Any]", report)]
    elif isinstance(report, str):
        shown = without_secrets(report)
    return cast("T", shown)


def _services(component: ComponentDescription) -> list[dict[str, Any]]:
    """The services of a component, each with its methods."""
    return [
        {"name": service.name, "methods": [method.name for method in service.methods]} for service in component.services
    ]


def print_report(report: dict[str, Any], workers: int, form: str, say: Callable[[str], None]) -> None:
    """Print a report, and log its warnings.

    Args:
        report: from `startup_report`.
        workers: processes that serve.
        form: the setting `log_format`.
        say: prints.
    """
    say(startup_text(report, workers, form))
    for text in report["warnings"]:
        log.warning(text)


def warnings_of(runtime: Runtime, settings: Settings) -> Iterator[str]:
    """Warnings about what may be wrong."""
    for component in runtime.catalog.partly_here:
        if reason := runtime.catalog.why_not_hosted(component):
            yield f"component {component.name!r} is not served{reason}"
    if runtime.catalog.hosted and runtime.registry.reaches_other_machines:
        yield from url_warnings(settings)


def _settings_of(settings: Settings) -> Iterator[dict[str, Any]]:
    """Name, value and source of each setting. The values of `values` are hidden: they may be secret."""
    for name in Settings.__struct_fields__:
        if name in {"values", "sources", "environ"}:
            continue
        value: Any = ", ".join(rule.name for rule in settings.rules) if name == "rules" else getattr(settings, name)
        if name == "policies":
            value = ", ".join(sorted(value))
        yield {"name": name, "value": value, "source": settings.sources.get(name, "default")}
    for key in settings.values:
        source = settings.sources.get(f"values.{key}", "default")
        yield {"name": f"values.{key}", "value": HIDDEN, "source": source}


def startup_text(report: dict[str, Any], workers: int, form: str) -> str:
    """The report as text.

    Args:
        report: from `startup_report`.
        workers: processes that serve.
        form: the setting `log_format`; "json" gives one line.
    """
    processes = f"{workers} {'process' if workers == 1 else 'processes'}"
    title = f"serving {report['module']} at {report['url']}"
    if form == "json":
        return json_line("meshcore.serve.report", title, workers=workers, **_nested(report))
    return "\n".join([f"{title} ({processes}, Ctrl-C ends)", *_lines(report)])


def _nested(report: dict[str, Any]) -> dict[str, Any]:
    """The report without the keys that log records use themselves."""
    return {("serves" if name == "module" else name): value for name, value in report.items()}


def _lines(report: dict[str, Any]) -> Iterator[str]:
    for component in report["components"]:
        yield f"  component {component['name']}"
        for service in component["services"]:
            yield f"    service {service['name']}: {', '.join(service['methods'])}"
        by_url: dict[str, list[str]] = {}
        for address in component["channels"]:
            by_url.setdefault(address["url"], []).append(address["channel"])
        for url, channels in by_url.items():
            yield f"    channels {', '.join(channels)} at {url}"
        health = component["health"] or f"has no path; {REPORT} has it"
        yield f"    health {health}"
    if report["documents"]:
        yield f"  documents {', '.join(report['documents'])}"
    registry = report["registry"]
    yield f"  registry {registry['type']} ({registry['url'] or 'of the module'})"
    settings = report["settings"]
    given = [setting for setting in settings if setting["source"] != "default"]
    for setting in given:
        yield f"  setting {setting['name']} = {_shown(setting['value'])} ({setting['source']})"
    yield f"  {'all' if not given else 'other'} settings: default"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
