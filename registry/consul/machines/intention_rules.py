"""Turns the intentions of Consul into rules that can be judged. Does no I/O.

The order is Consul's: the one with the higher precedence decides, and an exact name has a higher one than `*`, that of
the destination before that of the source. See Consul's page on intentions, "precedence and match order".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcore.ports.intentions import ANY, Action, Intention, Intentions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..api.connect import IntentionEntry

_OWN = frozenset({"", "default", ANY})


def rules_of(
    destination: str, entries: Iterable[IntentionEntry], *, allowed: bool
) -> tuple[Intentions, tuple[str, ...]]:
    """Make the rules for a destination.

    What cannot be judged here never allows a call. An intention with requirements to a request (permissions, JWT)
    denies. One for callers of other namespaces, partitions or clusters, whose certificates are not told apart here,
    denies if it says so, and is left out if it allows.

    Args:
        destination: the component.
        entries: all intentions for it.
        allowed: whether a call is allowed that none is for.

    Returns:
        The rules, and a remark on each intention that is not judged as it stands.
    """
    rules: list[Intention] = []
    remarks: list[str] = []
    for entry in sorted(entries, key=lambda each: -each.precedence):
        name = f"{entry.source_name} => {entry.destination_name}"
        allows = entry.action == Action.ALLOW
        if entry.permissions or entry.jwt is not None or entry.action not in set(Action):
            remarks.append(f"the intention {name} has requirements that are not judged here (L7); it counts as deny")
            allows = False
        if _is_foreign(entry):
            remarks.append(
                f"the intention {name} is for callers of another namespace, partition or cluster, which are not told "
                f"apart here; it {'is left out' if allows else 'counts for all callers of that name'}"
            )
            if allows:
                continue
        rules.append(Intention(entry.source_name, Action.ALLOW if allows else Action.DENY, name))
    return Intentions(destination, tuple(rules), Action.ALLOW if allowed else Action.DENY), tuple(remarks)


def _is_foreign(entry: IntentionEntry) -> bool:
    return (
        entry.source_type not in {"", "consul"}
        or bool(entry.source_peer or entry.source_sameness_group)
        or not {entry.source_ns, entry.source_partition} <= _OWN
    )
