"""Policies: timeouts, retries, balancing and ejection. Merged from component, interface, method, settings and call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from meshcore.core.errors import Code, LocalError
from meshcore.core.marks import add_mark
from meshcore.core.suggest import did_you_mean

T = TypeVar("T")

_Seconds = Annotated[float, Meta(gt=0, description="a number of seconds above 0")]
_Pause = Annotated[float, Meta(ge=0, description="a number of seconds, 0 or more")]
_Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
_PerSecond = Annotated[float, Meta(ge=0, description="a number per second, 0 or more")]
_Natural = Annotated[int, Meta(ge=0, description="a whole number, 0 or more")]
_Count = Annotated[int, Meta(ge=1, description="a whole number above 0")]

_Remembered = Annotated[int, Meta(ge=0, le=10_000, description="a whole number from 0 to 10000")]

Balance = Literal["least-loaded", "round-robin", "first", "random"]


class Policy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How calls are made: timeout, retries, hedging, balancing, ejection.

    A field that is not set is taken from the next wider policy, in the end from `DEFAULTS`. The fields of the second
    group concern what all calls to a component share, so they can be set for components only.

    Attributes:
        timeout: seconds that a call may take, all attempts included. A call that is made while another one is served
            never has more time than that one has left. A stream has it for its whole life: `inf` for one without end.
        idle: seconds that a stream may take to its next item. The time that its reader takes does not count.
        resumes: how often in a row a stream that broke is resumed without a new item, if its interface says how:
            `@resumable`. 0: never.
        attempts: how often a call is sent in all, if its method is idempotent and an attempt may have been processed.
            An attempt that was certainly not processed is repeated on each other instance.
        back_off: seconds; the longest pause before the first retry of an instance that was asked already. The pause is
            random from 0 to this, and the longest pause doubles with each retry.
        back_off_max: seconds; the longest pause does not grow beyond this.
        max_extra_load: share of a method's calls that may be hedged: sent a second time because the first attempt is
            slow. 0: none.
        balance: how an instance is chosen for an attempt.
        slow: seconds; a call that takes longer is logged, with its attempts. 0: five times the 99th percentile of the
            method's calls, and at least 0.1 s. A stream is never slow.
        remember: how many of a method's last calls `Mesh.last_calls` keeps: those that a process makes, and those that
            it serves. 0: none.

        retry_ratio: the budget for retries of calls that may have been processed, as a share of the component's calls
            of the last ten seconds.
        retry_reserve: retries per second that the budget grants in addition, for callers of few calls.
        concurrency: calls of this process that may be in flight to one instance.
        consecutive_failures: failures in a row that eject an instance.
        success_rate: share of an instance's calls of the last ten seconds that must succeed; a lower one ejects it. It
            counts from ten calls on.
        ejection: seconds; the longest first ejection of an instance. The actual time is random, at least half of that.
            The longest doubles with each ejection that follows.
        ejection_max: seconds; an ejection does not grow beyond this.
        max_ejected: share of the instances that may be ejected at once. One of two always may. 0: no ejection.
        slow_start: seconds in which a new instance's share of the calls grows to its full size. 0: at once.
    """

    timeout: _Seconds | UnsetType = UNSET
    idle: _Seconds | UnsetType = UNSET
    resumes: _Natural | UnsetType = UNSET
    attempts: _Count | UnsetType = UNSET
    back_off: _Pause | UnsetType = UNSET
    back_off_max: _Pause | UnsetType = UNSET
    max_extra_load: _Share | UnsetType = UNSET
    balance: Balance | UnsetType = UNSET
    slow: _Pause | UnsetType = UNSET
    remember: _Remembered | UnsetType = UNSET
    retry_ratio: _Share | UnsetType = UNSET
    retry_reserve: _PerSecond | UnsetType = UNSET
    concurrency: _Count | UnsetType = UNSET
    consecutive_failures: _Count | UnsetType = UNSET
    success_rate: _Share | UnsetType = UNSET
    ejection: _Seconds | UnsetType = UNSET
    ejection_max: _Seconds | UnsetType = UNSET
    max_ejected: _Share | UnsetType = UNSET
    slow_start: _Pause | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check the values; msgspec does so only when it decodes.

        Raises:
            LocalError: INVALID_ARGUMENT, naming the field.
        """
        for name in self.given:
            value = getattr(self, name)
            try:
                msgspec.convert(value, _TYPES[name])
            except msgspec.ValidationError:
                fits = False
            else:
                fits = value == value  # noqa: PLR0124 - NaN fits every bound
            if not fits:
                raise LocalError(Code.INVALID_ARGUMENT, f"policy: {name} must be {_expected(name)}, got {value!r}")

    def __call__(self, target: T) -> T:
        """Decorate an interface, one of its methods or a component with this policy: `@Policy(timeout=2.0)`."""
        return add_mark(target, self)

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the fields that are set."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is not UNSET)

    @property
    def shared(self) -> tuple[str, ...]:
        """The fields that are set and can be set for components only."""
        return tuple(name for name in self.given if name in SHARED)


def read_policy(table: Mapping[str, Any]) -> Policy:
    """The policy that a table of settings describes.

    Raises:
        LocalError: INVALID_ARGUMENT, naming the field.
    """
    for name in table:
        if name not in Policy.__struct_fields__:
            hint = did_you_mean(name, Policy.__struct_fields__)
            raise LocalError(Code.INVALID_ARGUMENT, f"policy: no field {name!r}{hint}")
    return Policy(**table)


SHARED: Final = frozenset(Policy.__struct_fields__[Policy.__struct_fields__.index("retry_ratio") :])
"""The fields that can be set for components only."""


def _types() -> dict[str, Any]:
    return {name: get_args(hint)[0] for name, hint in get_type_hints(Policy, include_extras=True).items()}


_TYPES = _types()


def _expected(name: str) -> str:
    if name == "balance":
        return f"one of {', '.join(get_args(Balance))}"
    described = (entry.description for entry in get_args(_TYPES[name]) if isinstance(entry, Meta))
    return next(text for text in described if text)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """A policy in which every field is set. `Policy` explains the fields. The defaults suit 2 to 50 instances."""

    timeout: float = 10.0  # long enough for a slow report; without one, a hung server blocks its callers for ever
    idle: float = 60.0  # long enough for rare events that a server confirms once a minute; about Envoy's and nginx's
    resumes: int = 10  # with pauses that double, about 10 s in all: a process that restarts is back by then
    attempts: int = 3  # enough for a restart in progress, too few to double the load; gRPC caps them at 5
    back_off: float = 0.05  # about as long as a restarting process refuses connections
    back_off_max: float = 1.0
    max_extra_load: float = 0.01  # Finagle's: hedge beyond the 99th percentile
    balance: Balance = "least-loaded"
    slow: float = 0.0
    remember: int = 0  # each takes about a kilobyte
    retry_ratio: float = 0.2  # Finagle's and Envoy's
    retry_reserve: float = 10.0  # Finagle's: a caller of few calls can ride out a restart
    concurrency: int = 1000  # about Envoy's 1024: bounds how many calls a hung instance can hold
    consecutive_failures: int = 5  # Envoy's and Finagle's
    success_rate: float = 0.8  # Finagle's and Linkerd's
    ejection: float = 1.0  # Linkerd's: a restart takes about that long, and a probe costs one call
    ejection_max: float = 60.0  # Linkerd's
    max_ejected: float = 0.5  # Envoy's 10 % would eject none of fewer than ten
    slow_start: float = 10.0  # caches and connections of a Python process are warm after some seconds


DEFAULTS: Final = Rules()
"""The rules of a call for which no policy is given."""

OFF: Final = Policy(
    resumes=0,
    attempts=1,
    max_extra_load=0.0,
    balance="round-robin",
    retry_ratio=0.0,
    retry_reserve=0.0,
    max_ejected=0.0,
)
"""The policy of the setting `resilience = false`: deadlines and round robin, nothing else."""


class Resolved(msgspec.Struct, frozen=True):
    """Rules, and the source of each field.

    Attributes:
        rules: the merged policy.
        sources: for each field, where its value comes from.
    """

    rules: Rules
    sources: Mapping[str, str]


def resolve(layers: Iterable[tuple[str, Policy | None]]) -> Resolved:
    """Merge policies. Later layers win.

    Args:
        layers: the source of each policy, and the policy.
    """
    values: dict[str, Any] = {}
    sources = dict.fromkeys(Policy.__struct_fields__, "default")
    for source, policy in layers:
        for name in policy.given if policy is not None else ():
            values[name] = getattr(policy, name)
            sources[name] = source
    return Resolved(Rules(**values), sources)
