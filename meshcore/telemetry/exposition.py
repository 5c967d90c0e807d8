"""Snapshots as text for Prometheus: in its own format, and in OpenMetrics.

https://prometheus.io/docs/instrumenting/exposition_formats/ and https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, isnan
from typing import Final

from meshcore.telemetry.families import FAMILIES, Family, Kind
from meshcore.telemetry.histogram import EXPOSED, cumulated
from meshcore.telemetry.snapshot import Sample, Snapshot, counts_of

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_LES: Final = tuple(f'le="{bound}"}} ' for bound in EXPOSED)


def content_type(accept: str) -> str:
    """The format for a scraper that accepts these media types: OpenMetrics if it asks for that as much as for text."""
    wanted = {"application/openmetrics-text": 0.0, "text/plain": 0.0, "*/*": 0.0}
    for part in accept.split(","):
        media, *parameters = (each.strip().lower() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if media in wanted:
            wanted[media] = max(wanted[media], _number(quality))
    openmetrics = wanted["application/openmetrics-text"]
    return OPENMETRICS if openmetrics and openmetrics >= wanted["text/plain"] else TEXT


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def expose(counted: Snapshot, *, openmetrics: bool) -> str:
    """All of it as text."""
    return "".join(parts(counted, openmetrics=openmetrics))


def parts(counted: Snapshot, *, openmetrics: bool) -> Iterator[str]:
    """The text in pieces of a few lines, so that an event loop can do other things between them."""
    for family in FAMILIES:
        samples = counted.get(family.name)
        if not samples:
            continue
        suffix = "_total" if family.kind is Kind.COUNTER else ""
        name = family.name if openmetrics else family.name + suffix
        unit = f"# UNIT {name} {family.unit}\n" if openmetrics and family.unit else ""
        yield f"# HELP {name} {family.help}\n# TYPE {name} {family.kind.value}\n{unit}"
        for sample in samples:
            if family.kind is Kind.HISTOGRAM:
                yield _histogram(family, sample)
            else:
                labels = _labels(family, sample.labels)
                yield f"{family.name}{suffix}{'{' + labels + '}' if labels else ''} {_shown(sample.value)}\n"
    if openmetrics:
        yield "# EOF\n"


def _histogram(family: Family, sample: Sample) -> str:
    labels, counts = _labels(family, sample.labels), counts_of(sample)
    name, count = family.name, sum(counts)
    begin = f"{name}_bucket{{{labels}," if labels else f"{name}_bucket{{"
    lines = [f"{begin}{le}{below}\n" for le, below in zip(_LES, cumulated(counts), strict=True)]
    braced = f"{{{labels}}}" if labels else ""
    lines.append(f'{begin}le="+Inf"}} {count}\n{name}_sum{braced} {sample.value!r}\n{name}_count{braced} {count}\n')
    return "".join(lines)


def _labels(family: Family, values: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(family.labels, values, strict=True) if value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _shown(value: float) -> str:
    if isfinite(value):
        return str(int(value)) if value == int(value) else repr(value)
    return "NaN" if isnan(value) else f"{'+' if value > 0 else '-'}Inf"
