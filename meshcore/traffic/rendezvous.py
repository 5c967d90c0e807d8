"""Rendezvous hashing: all clients rank the endpoints for a key in the same order, without coordination.

When an endpoint comes or goes, only its own keys move (Thaler and Ravishankar, 1996).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from math import log
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshcore.core.instances import Endpoint

_MASK = 2**64 - 1


@lru_cache(4096)
def _hash(text: str) -> int:
    """A hash that is the same in every process, unlike `hash`."""
    data = text.encode(errors="surrogatepass")  # a key may contain lone surrogates, such as a file's name
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def key_of(value: Any) -> int:
    """The key of an argument. Values with the same `str` have the same key."""
    return _hash(str(value))


def _mixed(key: int, seed: int) -> int:
    """A hash of both (the finalizer of SplitMix64). A cryptographic hash for each pair would cost 1 us."""
    mixed = (key ^ seed) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31


def ranked(endpoints: Iterable[Endpoint], key: int) -> list[Endpoint]:
    """The endpoints in the order for a key, the preferred one first. By URL: a restarted instance keeps its keys.

    An endpoint is the preferred one of a share of all keys that is its share of the weights (Schindelhauer and
    Schomaker, "Weighted Distributed Hash Tables", 2005).
    """

    def score(endpoint: Endpoint) -> float:
        return log((_mixed(key, _hash(endpoint.url)) + 1) / (_MASK + 2)) / endpoint.weight

    return sorted(endpoints, key=score, reverse=True)


def subset(instances: Iterable[str], client: str, size: int) -> frozenset[str]:
    """The instances that this client uses, if there are more than it should keep connections to.

    Together, all clients use all instances about equally. A subset changes little when instances come and go.
    """
    key = _hash(client)
    return frozenset(sorted(instances, key=lambda each: _mixed(key, _hash(each)), reverse=True)[:size])
