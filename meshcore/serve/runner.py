"""Serves a module with hypercorn, started by us: then the socket, the signals and the order of the end are ours.

Why not hypercorn's own way: from Python 3.12 on it waits without bound for connections that never end, and of several
workers it kills the others as soon as the first has stopped, calls and all.
"""

from __future__ import annotations

from collections.abc import Callable

from meshcore.core.errors import ConfigurationError
from meshcore.core.settings import Settings
from meshcore.serve.address import DEFAULT_BIND, at_address, open_socket
from meshcore.serve.load import load_module
from meshcore.serve.process import run_to_the_end, serve_socket
from meshcore.serve.report import print_report
from meshcore.serve.workers import supervise


def run(settings: Settings, *, bind: str = DEFAULT_BIND, workers: int = 1, say: Callable[[str], None] = print) -> int:
    """Serve until SIGINT or SIGTERM, then end in order; a second signal ends at once.

    If nobody set `advertise_url`, what is bound is advertised. The process should end when this returns: it is ended
    soon after if there are threads that do not.

    Args:
        settings: its module is what is served.
        bind: "host:port"; port 0 takes a free one.
        workers: processes that serve. One serves in this process; more are started, and share the address.
        say: is told what is served and where, when the address is open.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: the module cannot be served.
        LocalError: the address cannot be bound.
    """
    load_module(settings)  # here, so that what is wrong with it is said once and not by every worker
    if workers < 1:
        raise ConfigurationError("cannot serve", [f"workers must be a whole number above 0, got {workers}"])
    with open_socket(bind) as sock:
        settings = at_address(settings, sock)
        if workers > 1:
            return supervise(settings, sock, workers, say)
        return run_to_the_end(
            serve_socket(settings, sock, lambda report: print_report(report, 1, settings.log_format, say))
        )
