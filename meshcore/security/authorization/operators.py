"""Who may read the endpoints of operators, such as `/report` and `/metrics`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshcore.core.caller import Proof
from meshcore.core.errors import AuthorizationError, Code, ConfigurationError
from meshcore.core.settings import Settings
from meshcore.security.authorization.guard import Asking, Authorization
from meshcore.security.authorization.rules import Verdict
from meshcore.wire.endpoints import PAGE

OPEN, PROVEN, RULES, CLOSED = "open", "proven", "rules", "closed"
OFF: Final = "off"

_ACTIONS: Final = (f"{PAGE}/call", f"{PAGE}/demo/")
"""Paths at which this process acts for who asks, in its own name. To have proven another name is not enough there."""

_HEADER: Final = "authorization"
_CONTRACT: Final = "a contract is for those who may call something of it"


def operators_of(
    settings: Settings, components: Iterable[str], authorization: Authorization | None, *, identity: bool
) -> Operators | None:
    """Who may read the endpoints, by the setting `operators`; None for everybody.

    Args:
        settings: of the mesh.
        components: that this process serves.
        authorization: judges by the rules, None if nothing is judged.
        identity: whether the process has one, by the setting or from a source that was given as an object.

    Raises:
        ConfigurationError: rules are to decide, and none are judged.
    """
    access = settings.operators or (PROVEN if identity else OPEN)
    if access == OPEN:
        return None
    if access == RULES and settings.authorization == OFF:
        problem = 'setting operators: "rules" needs the setting authorization, which is off'
        raise ConfigurationError("The settings cannot be used", [problem])
    return Operators(components, authorization, access)


class Operators:
    """Judges who may read the endpoints.

    Instances of the components that this process serves may always read them, since they ask each other. With
    `proven`, so may whoever has a certificate of the mesh, but not try calls out on the live page: these are made in
    the name of this process. `/contract` is for everybody who may call a method, too: clients compare it with what
    they expect.

    Args:
        components: that this process serves.
        authorization: judges by the rules, None if nothing is judged.
        access: `proven`, `rules` or `closed`: who else may read them.
    """

    def __init__(self, components: Iterable[str], authorization: Authorization | None, access: str) -> None:
        self._own = frozenset(components)
        self._authorization = authorization
        self._rules = access == RULES
        self._proven = access == PROVEN

    async def admit(self, request: Asking, path: str, *, contract: bool = False) -> None:
        """Judge a request.

        Args:
            request: what is asked.
            path: of the endpoint.
            contract: whether it is that of the contract.

        Raises:
            AuthorizationError: it may not be answered.
        """
        authorization = self._authorization
        # These are no calls: instances that ask each other, clients that compare contracts and Prometheus have no token
        # of a user. Who sends none has no claims, also where calls need one.
        if authorization is not None and _HEADER in request.headers:
            await authorization.verified(request, path)
        caller = request.peer.caller
        verdict: Verdict | None = None
        if authorization is not None and self._rules:
            verdict = authorization.judge.judge_path(path, caller)
            if verdict.allowed:
                return
        named = caller.component in self._own or (self._proven and not path.startswith(_ACTIONS))
        if named and caller.proof is not Proof.NONE and (verdict is None or verdict.default):
            return
        if contract and (authorization is None or authorization.may_call_any(caller)):
            return
        if authorization is not None:
            rule = "setting operators" if verdict is None else verdict.rule
            authorization.note_denial(path, request.peer, rule)
        code = Code.UNAUTHENTICATED if caller.proof is Proof.NONE and not caller.claims else Code.PERMISSION_DENIED
        text = _CONTRACT if contract else "this is for operators (setting operators)"
        raise AuthorizationError(code, f"{path}: {text}", processed=False)
