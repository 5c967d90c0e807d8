"""Rendezvous hashing: every client ranks the same endpoints for the same key alike, without talking to the others.

When an endpoint comes or goes, only the keys that it wins or had won move (Thaler and Ravishankar, 1996).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshcore.core.instances import Endpoint

_MASK = 2**64 - 1


@lru_cache(4096)
def _hash(text: str) -> int:
    """The same in every process, as `hash` is not."""
    data = text.encode(errors="surrogatepass")  # keys are users' texts, and a file's name may have half a character
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def key_of(value: Any) -> int:
    """The key of an argument: values that print alike are alike."""
    return _hash(str(value))


def _mixed(key: int, seed: int) -> int:
    """Both together, as good as random (the finish of SplitMix64); a cryptographic hash for each pair costs 1 us."""
    mixed = (key ^ seed) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31


def ranked(endpoints: Iterable[Endpoint], key: int) -> list[Endpoint]:
    """The endpoints, the one that the key leads to first. By URL, so that a restarted instance keeps its keys."""
    return sorted(endpoints, key=lambda each: _mixed(key, _hash(each.url)), reverse=True)


def subset(instances: Iterable[str], client: str, size: int) -> frozenset[str]:
    """The instances that this client is to use, if there are more than it should keep connections to.

    All clients together use all instances about equally, and a client's subset hardly changes when some come and go.
    """
    key = _hash(client)
    return frozenset(sorted(instances, key=lambda each: _mixed(key, _hash(each)), reverse=True)[:size])
