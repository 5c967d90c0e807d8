"""What a worker process of hypercorn knows of its server: its sockets, its keep-alive, and the event that ends it.

hypercorn tells an application none of that. But its workers are processes of `multiprocessing`, which keep their
arguments. That is not public: if it changes, the mesh goes on without that knowledge.
"""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from typing import Any, cast


def worker_arguments() -> dict[str, Any]:
    """The arguments of the function that this worker runs. Empty if this process is no worker of hypercorn."""
    if multiprocessing.parent_process() is None:
        return {}
    arguments: dict[str, Any] = getattr(multiprocessing.current_process(), "_kwargs", {})
    return arguments if isinstance(arguments.get("shutdown_event"), Event) else {}


def listens_at() -> tuple[str, str, int] | None:
    """The scheme, host and port of the first socket that hypercorn's worker listens at. None if that is not known."""
    sockets = worker_arguments().get("sockets")
    for scheme, name in (("https", "secure_sockets"), ("http", "insecure_sockets")):
        for sock in cast("Sequence[socket.socket]", getattr(sockets, name, ())):
            if sock.family in {socket.AF_INET, socket.AF_INET6}:
                host, port = sock.getsockname()[:2]
                return scheme, host, port
    return None


def has_mesh_tls() -> bool | None:
    """Whether hypercorn's worker makes its TLS with `meshcore.serve.tls.hypercorn`. None if that is not known."""
    config = worker_arguments().get("config")
    if config is None:
        return None
    make: object = getattr(config, "create_ssl_context", None)
    return getattr(make, "__module__", "") == "meshcore.serve.tls.hypercorn"


def unix_socket() -> str:
    """The path of the first unix socket without TLS that hypercorn's worker listens at. Empty if there is none."""
    for sock in cast("Sequence[socket.socket]", getattr(worker_arguments().get("sockets"), "insecure_sockets", ())):
        if sock.family == socket.AF_UNIX and isinstance(path := sock.getsockname(), str):  # bytes: no file
            return path
    return ""


def keep_alive() -> float | None:
    """The seconds after which hypercorn's worker closes idle connections, None if that is not known."""
    seconds = getattr(worker_arguments().get("config"), "keep_alive_timeout", None)
    return float(seconds) if isinstance(seconds, int | float) else None
