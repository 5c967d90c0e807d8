"""`meshcore run`: serves a module with hypercorn, with our own handling of the socket, signals and shutdown.

hypercorn's own runner is not used. From Python 3.12 on it waits for ever for connections that do not end. With several
workers, it ends when one is killed, and kills the others, with their running calls, as soon as the first has stopped.
"""

from __future__ import annotations

from collections.abc import Callable

from meshcore.core.errors import ConfigurationError
from meshcore.core.settings import Settings
from meshcore.serve.address import DEFAULT_BIND, at_address, open_socket
from meshcore.serve.module_loader import load_served_module
from meshcore.serve.process import run_to_the_end, serve_sockets
from meshcore.serve.report import print_report
from meshcore.serve.unix_socket import bound_unix_socket
from meshcore.serve.workers import supervise


def run(settings: Settings, *, bind: str = DEFAULT_BIND, workers: int = 1, say: Callable[[str], None] = print) -> int:
    """Serve until SIGINT or SIGTERM, then shut down gracefully. A second signal ends the server at once.

    If `advertise_url` is not set, the URL of the socket is advertised. The process should end when this returns:
    threads that still run are ended soon after.

    Args:
        settings: the settings. They name the module to serve.
        bind: "host:port"; port 0 takes a free one.
        workers: the number of serving processes. One serves in this process; several are started, and share the socket.
            One of several that ends is replaced.
        say: prints the start-up report.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: the module cannot be served.
        LocalError: the address, or the unix socket of the settings, cannot be bound.
    """
    load_served_module(settings)  # here, so that an error is reported once and not by every worker
    if workers < 1:
        raise ConfigurationError("cannot serve", [f"workers must be a whole number above 0, got {workers}"])
    with bound_unix_socket(settings.unix_socket) as more, open_socket(bind) as sock:
        settings, sockets = at_address(settings, sock), (sock, *more)
        if workers > 1:
            return supervise(settings, sockets, workers, say)
        return run_to_the_end(
            serve_sockets(settings, sockets, lambda report: print_report(report, 1, settings.log_format, say))
        )
