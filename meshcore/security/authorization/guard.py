"""The guard of a server: verifies the token of a request, if there is a verifier, and judges who may call."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from meshcore.core.access import AccessRule
from meshcore.core.caller import Caller, Peer, Proof
from meshcore.core.description import Method
from meshcore.core.errors import AuthorizationError, Code, ConfigurationError
from meshcore.ports.intentions import Action, IntentionsByDestination
from meshcore.security.authorization.denials import Denials
from meshcore.security.authorization.rules import Judge, Target, Verdict
from meshcore.telemetry.calls import method_name
from meshcore.wire.headers import RequestHeaders

log = logging.getLogger(__name__)


class Asking(Protocol):
    """A request whose caller is judged. What a token proves is set as the claims of its peer's caller."""

    peer: Peer

    @property
    def headers(self) -> RequestHeaders:
        """Of the request."""
        ...


Verify: TypeAlias = Callable[[Asking, Any], Awaitable[None] | None]
"""Verifies the token of a request, if it has one, and replaces `peer` by one whose caller has its claims.

The second argument is what is asked for, for the log: a method, or the path of an endpoint.
It returns None if that is done at once, and an awaitable if keys have to be fetched first. It raises
`AuthorizationError`, not processed, if there is a token that is not valid.
"""


class Mode(StrEnum):
    """What becomes of a call that is not allowed."""

    ENFORCE = "enforce"
    """It is refused, counted and logged."""

    AUDIT = "audit"
    """It is only counted and logged."""


class Authorization:
    """Judges calls by rules that may change. All servers of a mesh share one.

    Args:
        targets: the methods of this process, and what is declared of them.
        rules: of the settings.
        mode: what becomes of a call that is not allowed.
        count: counts a denial: of a method or a path, of a component, in a mode.

    Attributes:
        judge: decides. It is replaced as a whole when rules change.
        verify: verifies tokens; None if none are expected. Set it before the first server is made.
        intentions: by the component that is called; they are asked in addition. Empty for none.
    """

    def __init__(
        self,
        targets: Mapping[Method, Target],
        rules: tuple[AccessRule, ...],
        mode: Mode,
        count: Callable[[str, str, str], None],
    ) -> None:
        self.judge = Judge(rules, targets)
        self.verify: Verify | None = None
        self.intentions: IntentionsByDestination = {}
        self.mode = mode
        self._targets = targets
        self._fixed = rules
        self._count = count
        self._denials = Denials(log, time.monotonic)
        self._changed: list[Callable[[], None]] = []

    @property
    def needed(self) -> bool:
        """Whether anything has to be judged or verified at all."""
        return self.verify is not None or bool(self.intentions) or not self.judge.empty

    def follow(self, changed: Callable[[], None]) -> None:
        """Call a function now, and whenever `needed` may have changed."""
        self._changed.append(changed)
        changed()

    def check(self, live: tuple[AccessRule, ...]) -> None:
        """Check rules that may change together with those of the settings.

        Raises:
            ConfigurationError: one of them has the name of another.
        """
        fixed = {rule.name for rule in self._fixed}
        twice = [rule.name for rule in live if rule.name in fixed]
        if twice:
            problems = [f"a rule of the settings is called {name!r}, too" for name in twice]
            raise ConfigurationError("The rules cannot be used", problems)

    def replace_rules(self, live: tuple[AccessRule, ...]) -> None:
        """Take over the rules of operators that may change, beside those of the settings. `check` them before."""
        self.judge = Judge((*self._fixed, *live), self._targets)
        for text in self.judge.warnings:
            log.warning(text)
        self.tell()

    def tell(self) -> None:
        """Tell the servers that `needed` may have changed."""
        for changed in self._changed:
            changed()

    def guard(self, request: Asking, method: Method) -> Awaitable[None] | None:
        """Judge whether a request may call a method; see `server.Guard`.

        Raises:
            AuthorizationError: not processed: it may not, or its token is not valid.
        """
        if self.verify is not None and (verified := self.verify(request, method)) is not None:
            return self._judge_later(verified, request, method)
        # All of it here: a method of its own would take 0.1 us more.
        verdict = self.judge.judge(method, request.peer.caller)
        if not verdict.allowed or self.intentions:
            self._refuse(request, method, verdict)
        return None

    async def _judge_later(self, verified: Awaitable[None], request: Asking, method: Method) -> None:
        await verified
        self._refuse(request, method, self.judge.judge(method, request.peer.caller))

    def _refuse(self, request: Asking, method: Method, verdict: Verdict) -> None:
        """Refuse a call, unless it is allowed by the rules and the intentions."""
        if verdict.allowed and self.intentions:
            verdict = self._intended(method, request.peer.caller, verdict)
        if not verdict.allowed:
            self._deny(request, method, verdict)

    def explain(self, method: Method, caller: Caller) -> Verdict:
        """What would be decided of a call, and by what."""
        verdict = self.judge.judge(method, caller)
        return self._intended(method, caller, verdict) if verdict.allowed and self.intentions else verdict

    def _intended(self, method: Method, caller: Caller, verdict: Verdict) -> Verdict:
        target = self._targets.get(method)
        intended = None if target is None else self.intentions.get(target.component)
        if intended is None or caller.proof is Proof.PROCESS:
            return verdict
        found = intended.judge(caller.component)
        if found.action is Action.ALLOW:
            return verdict
        name = f"intention {found.name}" if found.name else "no intention allows it"
        helps = caller.proof is Proof.NONE and any(each.action is Action.ALLOW for each in intended.rules)
        return Verdict(allowed=False, rule=name, proof_helps=helps)

    def _deny(self, request: Asking, method: Method, verdict: Verdict) -> None:
        target = self._targets.get(method)
        self._count(method_name(method), "" if target is None else target.component, self.mode)
        self._denials.note(str(method), request.peer, verdict.rule, audit=self.mode is Mode.AUDIT)
        if self.mode is Mode.ENFORCE:
            raise denial(str(method), request.peer.caller, verdict)

    async def verified(self, request: Asking, path: str) -> None:
        """Verify the token of a request, if it has one.

        Raises:
            AuthorizationError: it is not valid.
        """
        if self.verify is not None and (verified := self.verify(request, path)) is not None:
            await verified

    def may_call_any(self, caller: Caller) -> bool:
        """Whether there is a method that the caller may call."""
        return not self._targets or any(self.explain(method, caller).allowed for method in self._targets)

    def note_denial(self, path: str, peer: Peer, rule: str) -> None:
        """Count and log that an endpoint was not read."""
        self._count(path, "", Mode.ENFORCE)
        self._denials.note(path, peer, rule, audit=False)


def denial(what: str, caller: Caller, verdict: Verdict) -> AuthorizationError:
    """The error for who may not. It does not say which rule decides: that is for the operators, in the log."""
    if verdict.proof_helps:
        return AuthorizationError(Code.UNAUTHENTICATED, f"{what} needs a proven identity or a token", processed=False)
    who = caller.component or caller.identity or "this caller"
    return AuthorizationError(Code.PERMISSION_DENIED, f"{who} may not call {what}", processed=False)
