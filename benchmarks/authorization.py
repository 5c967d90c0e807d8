"""What it costs to judge who may call."""

from __future__ import annotations

from benchmarks.calls.wire import Plan
from benchmarks.report import Goal, Report, Row
from benchmarks.telemetry.section import best, described
from meshcore.core.access import AccessRule, read_rules
from meshcore.core.caller import Caller, Peer, Proof
from meshcore.security.authorization.guard import Authorization, Mode
from meshcore.security.authorization.rules import Judge, targets_of
from meshcore.wire.headers import RequestHeaders

RULES, METHODS, CALLERS = 1_000, 100, 200

_CALLS = 10_000


async def authorization_section(plan: Plan, report: Report) -> None:  # noqa: ARG001 - nothing is sent
    """What the guard adds to a call with many rules, and what it takes to judge a new caller and to take rules over."""
    by_component, by_claim = judged(rules(claims=False)), judged(rules(claims=True))
    new, taken = judged(rules(claims=True), new=True), best(take_over)
    report.rows += [
        Row("authorization", f"a call, {RULES} rules, callers known by their component", by_component * 1e6),
        Row("authorization", f"a call, {RULES} rules, callers known by a claim", by_claim * 1e6),
        Row("authorization", f"the first call of a caller, {RULES} rules", new * 1e6),
        Row("authorization", f"new rules: {RULES}, and {METHODS} methods", taken * 1e6),
    ]
    report.goals += [
        Goal(f"us: judging a call by {RULES} rules, callers known by their component", 1.0, by_component * 1e6),
        Goal(f"us: judging a call by {RULES} rules, callers known by a claim", 1.0, by_claim * 1e6),
    ]


class Asked:
    """A request, as far as a guard looks at it."""

    headers = RequestHeaders([])

    def __init__(self, caller: Caller) -> None:
        self.peer = Peer("10.0.0.1", caller)


def rules(*, claims: bool) -> tuple[AccessRule, ...]:
    """Rules that all fit the methods; each allows one caller."""
    return read_rules(
        [
            {
                "name": f"r{number}",
                "methods": "*",
                "callers": {"claims": {"team": f"c{number}"}} if claims else {"components": f"c{number}"},
                "effect": "allow",
            }
            for number in range(RULES)
        ]
    )


def judged(found: tuple[AccessRule, ...], *, new: bool = False) -> float:
    """Seconds to judge a call.

    Args:
        found: the rules.
        new: whether each call is the first of its caller.
    """
    component = described(METHODS)
    methods = component.services[0].methods
    authorization = Authorization(targets_of([component]), found, Mode.ENFORCE, _never)
    callers = [
        Caller(f"spiffe://bench/svc/c{each}", f"c{each}", Proof.CERTIFICATE, {"team": f"c{each}", "sub": str(each)})
        for each in range(RULES - CALLERS, RULES)
    ]
    calls = [(Asked(caller), methods[number % 7]) for number, caller in enumerate(callers)]
    guard = authorization.guard

    def run() -> None:
        for _ in range(_CALLS // CALLERS):
            for asked, method in calls:
                guard(asked, method)

    def first() -> None:
        authorization.judge = Judge(found, targets_of([component]))
        for asked, method in calls:
            guard(asked, method)

    if not new:
        return best(run) / _CALLS
    return (best(first) - best(lambda: Judge(found, targets_of([component])))) / CALLERS


def take_over() -> None:
    """Compile new rules."""
    Judge(rules(claims=False), targets_of([described(METHODS)]))


def _never(method: str, *_: str) -> None:
    raise AssertionError(f"{method} was denied")
