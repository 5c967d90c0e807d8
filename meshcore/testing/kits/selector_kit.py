"""The conformance kit for URL selectors.

The author of a selector writes one test::

    def test_conforms() -> None:
        check_selector(MyURLSelector)

or lets hypothesis choose the traffic::

    @given(st.integers())
    def test_conforms(seed: int) -> None:
        check_selector(MyURLSelector, seed=seed)

The `AssertionError` names the clause of the contract that is broken, and the last steps before that.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Final

from meshcore.core.call import Call
from meshcore.core.description import Method, Parameter
from meshcore.core.instances import Endpoint
from meshcore.traffic.outcome import Outcome
from meshcore.traffic.url_selector import URLSelector

_CALL: Final = Call(Method("shop", "buy", (), None, is_async=True))
_STICKY: Final = Call(
    Method("shop", "visit", (Parameter("customer", str),), None, is_async=True, affinity=0), ("somebody",)
)
_NAMES: Final = "abcdefgh"
_TURNS: Final = 100
"""Calls per instance in the check for fairness. With so many, a random selector gives an instance less than half of its
share once in ten million times."""
_SHOWN: Final = 12


def check_selector(make: Callable[[], URLSelector], *, fair: bool = True, steps: int = 300, seed: object = 0) -> None:
    """Check a URL selector: with random traffic while instances come, go and move, then with instances that stay.

    It takes no real time: the selector gets the time as an argument.

    Args:
        make: makes a selector.
        fair: whether equal instances must get equal shares of the calls. False for a selector that prefers some.
        steps: the number of random steps.
        seed: of the random generator.

    Raises:
        AssertionError: a clause of the contract is broken.
    """
    drive = _Drive(make(), random.Random(str(seed)))
    for _ in range(steps):
        drive.step()
    if fair:
        drive.settle()
        drive.share_out(make)


class _Drive:
    """Drives a selector, and keeps the state that it should know."""

    def __init__(self, selector: URLSelector, rng: random.Random) -> None:
        self._selector = selector
        self._rng = rng
        self._instances: dict[str, Endpoint] = {}
        self._in_progress: list[Endpoint] = []
        self._now = 1000.0
        self._steps = 0
        self._log: deque[str] = deque(maxlen=_SHOWN)
        self._name = type(selector).__name__

    def step(self) -> None:
        """Take one random step."""
        self._now += self._rng.choice([0.0, 0.001, 0.1, 30.0])
        self._steps += 1
        act = self._rng.choices([self._come, self._go, self._replace_all, self._end, self._call], [3, 3, 1, 4, 9])[0]
        act()

    def settle(self) -> None:
        """End all attempts in progress, with success."""
        while self._in_progress:
            self._finish(self._in_progress.pop(), Outcome.SUCCEEDED)

    def share_out(self, make: Callable[[], URLSelector]) -> None:
        """Check that equal instances get equal shares."""
        for count in (1, 2, 5):
            self._instances = {name: _endpoint(name, 0) for name in _NAMES[:count]}
            # A new selector, too: the history of the first one must make no difference.
            for selector in (self._selector, make()):
                self._selector = selector
                self._push()
                self._now += 3600.0  # the slow start of new instances is over
                counts = Counter(dict.fromkeys(self._instances, 0))
                for _ in range(_TURNS * count):
                    self._now += 0.01
                    endpoint = self._select(_CALL, ())
                    if endpoint is not None:
                        counts[endpoint.instance] += 1
                        self._finish(self._begin(endpoint), Outcome.SUCCEEDED)
                least = min(counts.values())
                if least < _TURNS / 2:
                    shares = ", ".join(f"{name}: {counts[name]}" for name in sorted(counts))
                    self._fail("Instances that are alike get like shares of the calls.", f"the shares are {shares}")

    def _come(self) -> None:
        name = self._rng.choice(_NAMES)
        self._instances[name] = _endpoint(name, self._steps)  # an instance that was there moves to another address
        self._push()

    def _go(self) -> None:
        self._instances.pop(self._rng.choice(_NAMES), None)
        self._push()

    def _replace_all(self) -> None:
        names = self._rng.sample(_NAMES, self._rng.randint(0, len(_NAMES)))
        self._instances = {name: self._instances.get(name) or _endpoint(name, self._steps) for name in names}
        self._push()

    def _call(self) -> None:
        tried = tuple(self._rng.sample(_NAMES, self._rng.choice([0, 0, 0, 1, 2, len(_NAMES)])))
        endpoint = self._select(self._rng.choice([_CALL, _CALL, _STICKY]), tried)
        if endpoint is not None:
            self._in_progress.append(self._begin(endpoint))

    def _end(self) -> None:
        if self._in_progress:
            # In any order. The instance may have gone, or come again, meanwhile.
            endpoint = self._in_progress.pop(self._rng.randrange(len(self._in_progress)))
            self._finish(endpoint, self._rng.choice(list(Outcome)))

    def _push(self) -> None:
        snapshot = tuple(self._instances[name] for name in sorted(self._instances))
        with self._reporting(f"update({_names(snapshot)})", "A snapshot replaces the last one, whatever that was."):
            self._selector.update(snapshot, self._now)

    def _select(self, call: Call, tried: Sequence[str]) -> Endpoint | None:
        with self._reporting(f"select(tried={_list(tried)})", "There is a choice, however the snapshot has changed."):
            # The balancer passes a tuple or a frozenset.
            chosen = self._selector.select(call, tried if self._rng.random() < 1 / 2 else frozenset(tried), self._now)
        left = [name for name in sorted(self._instances) if name not in tried]
        self._log[-1] += f" = {chosen.instance if chosen else None}"
        if chosen is None:
            if left:
                self._fail(
                    "None means that no instance is left.", f"it was returned although {_list(left)} had not been tried"
                )
            return None
        if chosen.instance in tried:
            self._fail("What was tried is not chosen again.", f"{chosen.instance} had been tried")
        if chosen != self._instances.get(chosen.instance):
            now = self._instances.get(chosen.instance)
            is_now = f"is {now.url} now" if now else "is gone"
            self._fail(
                "The choice is of the last snapshot.", f"{chosen.url} was chosen, but {chosen.instance} {is_now}"
            )
        return chosen

    def _begin(self, endpoint: Endpoint) -> Endpoint:
        with self._reporting(f"begin({endpoint.instance})", "Each attempt that begins is reported."):
            self._selector.begin(endpoint)
        return endpoint

    def _finish(self, endpoint: Endpoint, outcome: Outcome) -> None:
        what = f"end({endpoint.instance}, {outcome.value})"
        with self._reporting(what, "Attempts end in any order, also at instances that are gone."):
            self._selector.end(endpoint, outcome, self._rng.choice([0.01, 0.01, 5.0]), self._now)

    @contextmanager
    def _reporting(self, step: str, clause: str) -> Generator[None]:
        self._log.append(step)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - any error breaks the clause
            self._fail(clause, f"it raised {error!r}", error)

    def _fail(self, clause: str, but: str, cause: Exception | None = None) -> None:
        steps = "; ".join(self._log)
        raise AssertionError(
            f"{self._name} breaks the contract. {clause} But {but}. The last steps: {steps}"
        ) from cause


def _endpoint(name: str, move: int) -> Endpoint:
    return Endpoint(name, f"http://{name}/{move}")


def _names(endpoints: Sequence[Endpoint]) -> str:
    return _list([endpoint.instance for endpoint in endpoints])


def _list(names: Sequence[str]) -> str:
    return ",".join(names) or "none"
