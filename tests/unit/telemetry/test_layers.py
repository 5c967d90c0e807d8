"""What the setting `traces` composes into the stacks: nothing, unless it asks for something."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meshcore import ConfigurationError
from meshcore.telemetry.layers import Traces, traces_of

SPANS = "meshcore.telemetry.opentelemetry.spans"


def test_without_the_setting_nothing_is_composed() -> None:
    """So it costs nothing."""
    found = traces_of("propagate")
    assert list(found.server) == []
    assert found.client("shop-component").call == found.client("shop-component").attempt == ()
    assert isinstance(traces_of("begin"), Traces)


def test_opentelemetry_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.delitem(sys.modules, SPANS, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r'setting traces: .* install "meshcore-runtime\[otel\]"'):
        traces_of("opentelemetry")


@pytest.mark.one_python
def test_opentelemetry_is_not_imported_unless_it_is_asked_for() -> None:
    """Neither by a server nor by a client."""
    text = "import sys, meshcore.serve.mesh_app, meshcore.channels.stream; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
