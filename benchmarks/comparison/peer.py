"""What a peer is: somebody's way to call another process. Standard library only, as `payload`.

A peer is one file in `benchmarks/peers`: a comment with its packages (PEP 723), a `Peer`, and `run(PEER)` at the end.
The benchmark makes an environment of these packages, and starts the file once as a server and once as a client for each
variant. A file without such a comment runs in the environment of the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from benchmarks.comparison.payload import Workload


@dataclass(frozen=True)
class Call:
    """One way to call, ready to be repeated.

    Attributes:
        call: makes one call and returns what came of it. For the stream it takes the number of items, and returns how
            many came and the last one. Every result is to be in the caller's types, as is the argument.
        expected: what each call returns; not for the stream.
        blocking: `call` is a plain function, which is called in as many threads as there are callers.
    """

    call: Callable[..., Any]
    expected: Any = None
    blocking: bool = False


Calls = Mapping[Workload, Call]
"""What a client can do. What a peer does not have is missing."""


@dataclass(frozen=True)
class Peer:
    """A peer, in its own environment.

    Attributes:
        name: as the table says it.
        variants: the ways to call that are measured; each has a server and a client process of its own.
        serve: from the variant and a free port to a context in which the server answers at 127.0.0.1.
        connect: from the variant and the port to a context with the calls of a client.
    """

    name: str
    variants: Sequence[str]
    serve: Callable[[str, int], AbstractAsyncContextManager[None]]
    connect: Callable[[str, int], AbstractAsyncContextManager[Calls]]
