"""Lets `opentelemetry-instrument` record the calls of every mesh of a process, as spans and as metrics."""

from __future__ import annotations

from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from meshcore.telemetry.layers import instrument
from meshcore.telemetry.opentelemetry.meter import mesh_meter
from meshcore.telemetry.opentelemetry.spans import span_traces


class MeshInstrumentor:
    """What `opentelemetry-instrument` finds by its entry point. A program can use it as well, before it makes a mesh.

    It has the two methods of OpenTelemetry's `BaseInstrumentor`, but needs its API only.
    """

    def instrument(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        **_: Any,
    ) -> None:
        """Record the calls of all meshes that start from now on, whatever their settings `traces` and `meter` say.

        Args:
            tracer_provider: of the spans; OpenTelemetry's global one by default.
            meter_provider: of the metrics, likewise.
        """
        instrument(span_traces(tracer_provider), mesh_meter(meter_provider))

    def uninstrument(self, **_: Any) -> None:
        """Let the settings of the meshes that start from now on decide again."""
        instrument(None)
