"""Proxies: objects of a class that is generated for an interface and passes each method call to a handler.

The generated methods have the signatures of the interface, so Python itself binds the arguments, fills in defaults and
rejects wrong names. They are compiled from source text: that is 2.5 us per call faster than binding at run time.

Connections, locks and tasks of the mesh belong to its event loop. So a call that is made on another loop is handed over
to the loop of the mesh.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec

from meshcore.client.bridge import Bridge
from meshcore.client.streaming.methods import FORM, opener
from meshcore.core.call import CALLER_KEY, Call, Handler, StreamHandler, why_no_key
from meshcore.core.description import Method, ServiceDescription, Shape
from meshcore.core.errors import Code, LocalError
from meshcore.core.policy import Policy
from meshcore.core.streaming.handler import without_items

Variant = Callable[[Policy], Any]

T = TypeVar("T")

# Whether a call is made on another loop than the mesh's. Each call asks for it, so that it has to be fast: it takes
# 0.02 us. Before Python 3.12, to ask for the running loop is a system call (getpid), and takes 0.14 us. There a loop's
# own record of the thread that runs it takes 0.03 us, and `is_running()` with the thread's id 0.1 us.
if sys.version_info >= (3, 12):
    _ELSEWHERE = "__mesh_running_loop() is not __mesh_self._mesh_loop"
else:
    _ELSEWHERE = "__mesh_thread() != __mesh_self._mesh_runner._thread_id"


class ProxyClass:
    """Makes proxies of one interface."""

    def __init__(self, service: ServiceDescription) -> None:
        members: dict[str, Any] = {
            method.name: _function(service.interface, method, is_async=method.is_async) for method in service.methods
        }
        members["_mesh_other_colour"] = _OtherColour(service)
        members["__init__"] = _init
        members["__repr__"] = _repr
        members["__module__"] = service.interface.__module__
        self._name = service.name
        self._cls = type(service.interface)(f"{service.interface.__name__}Proxy", (service.interface,), members)

    def make(
        self,
        handler: Handler,
        bridge: Bridge,
        target: str,
        variant: Variant | None = None,
        streams: StreamHandler | None = None,
    ) -> Any:
        """Make a proxy.

        Args:
            handler: gets the calls.
            bridge: runs the calls of `def` methods, and those that are made on another loop.
            target: for the `repr`: where the calls go.
            variant: gives the same proxy with another policy; None if policies do not apply.
            streams: gets the streaming calls; the handler itself by default, for one that refuses all calls.
        """
        proxy = self._cls(handler, bridge, f"{self._name} {target}", variant)
        redirect(proxy, handler, streams)
        return proxy


def with_policy(service: T, policy: Policy) -> T:
    """The same service, called with another policy: `with_policy(greeting, Policy(timeout=0.2))`.

    Args:
        service: a proxy, from `get_service` or injected.
        policy: its fields replace those of the proxy's policy. Fields that are not set stay as they are.

    Raises:
        LocalError: INVALID_ARGUMENT, this is no proxy, or the policy sets a field that only a component can set.
    """
    variant: Variant | None = getattr(service, "_mesh_variant", None)
    if variant is None:
        text = f"{type(service).__name__} is no proxy of a service, so no policy governs calls to it"
        raise LocalError(Code.INVALID_ARGUMENT, text)
    return cast("T", variant(policy))


class _OtherColour:
    """The methods of a proxy class in the other colour, each generated when it is first asked for."""

    def __init__(self, service: ServiceDescription) -> None:
        self._service = service
        self._made: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """The function for a method, None if the service has none of that name."""
        if name not in self._made:
            method = self._service.method(name)
            function = method and _function(self._service.interface, method, is_async=not method.is_async)
            self._made[name] = function
        return self._made[name]


def with_key(service: T, key: str) -> T:
    """The same service, called with an idempotency key of the caller's own: `with_key(payments, "order-7")`.

    A call that is made again with the same key, by whatever process, gets the outcome of the first one, as long as its
    server keeps that: see `idempotency_key`. Calls with the same key go to the same instance while that is available
    and not overloaded. The same key with other arguments is an error, ALREADY_EXISTS.

    Args:
        service: a proxy, from `get_service` or injected. Only methods with `@idempotency_key` can be called.
        key: 1 to 255 characters of printable ASCII, such as the number of what is paid.

    Raises:
        LocalError: INVALID_ARGUMENT, this is no proxy or no key. A call raises it if its method takes no key.
    """
    variant: Variant | None = getattr(service, "_mesh_variant", None)
    if variant is None:
        text = f"{type(service).__name__} is no proxy of a service, so no key goes with calls to it"
        raise LocalError(Code.INVALID_ARGUMENT, text)
    if reason := why_no_key(key):
        raise LocalError(Code.INVALID_ARGUMENT, f"with_key: {reason}")
    proxy: Any = service
    cls: Any = type(service)

    async def keyed(call: Call) -> Any:
        if call.method.idempotency_key is None:
            text = f"{call.method} takes no idempotency key, so it would be executed each time: @idempotency_key()"
            raise LocalError(Code.INVALID_ARGUMENT, text)
        keyed_call = msgspec.structs.replace(call, headers={CALLER_KEY: key, **call.headers})
        # Asked for at each call: the mesh redirects its own proxies, when it starts and stops.
        return await proxy._mesh_handler(keyed_call)  # noqa: SLF001 - the classes of proxies are made here

    def other(policy: Policy) -> Any:
        return with_key(variant(policy), key)

    target = f"{proxy._mesh_target} with an idempotency key"  # noqa: SLF001 - as above
    return cast("T", cls(keyed, proxy._mesh_bridge, target, other))  # noqa: SLF001 - as above


def redirect(proxy: Any, handler: Handler, streams: StreamHandler | None = None) -> None:
    """Let a proxy pass its calls to other handlers; see `ProxyClass.make`."""
    proxy._mesh_handler = handler  # noqa: SLF001 - the classes of proxies are made here
    proxy._mesh_streams = streams or without_items(handler)  # noqa: SLF001 - as above


def _init(self: Any, handler: Handler, bridge: Bridge, target: str, variant: Variant | None) -> None:
    self._mesh_handler = handler
    self._mesh_streams = without_items(handler)
    self._mesh_loop = bridge.loop
    self._mesh_runner = bridge.runner
    self._mesh_bridge = bridge
    self._mesh_target = target
    self._mesh_variant = variant


def _repr(self: Any) -> str:
    return f"<proxy of {self._mesh_target}>"


def _function(interface: type, method: Method, *, is_async: bool) -> Any:
    """Generate the proxy's method, with the signature of the interface, as `async def` or `def`."""
    # Reserved names, which no parameter has.
    names: dict[str, Any] = {
        "__mesh_call": Call,
        "__mesh_method": method,
        "__mesh_running_loop": asyncio._get_running_loop,  # noqa: SLF001 - get_running_loop() raises if there is none
        "__mesh_thread": threading.get_ident,
    }
    parameters = ["__mesh_self"]
    arguments: list[str] = []
    for at, parameter in enumerate(method.parameters):
        if parameter.keyword_only and "*" not in parameters:
            parameters.append("*")
        text = parameter.name
        if not parameter.required:
            names[f"__mesh_default_{at}"] = parameter.default
            text += f"=__mesh_default_{at}"
        if parameter.is_default_mutable:  # a call within this process passes the object itself
            names[f"__mesh_fresh_{at}"] = parameter.fresh_default
            arguments.append(f"__mesh_fresh_{at}() if {parameter.name} is __mesh_default_{at} else {parameter.name}")
        else:
            arguments.append(parameter.name)
        parameters.append(text)
        following = method.parameters[at + 1 :]
        if parameter.positional_only and not (following and following[0].positional_only):
            parameters.append("/")
    # Without the third one, each call would get a dict of its own: that takes 0.05 us.
    call = f"__mesh_call(__mesh_method, ({''.join(f'{each}, ' for each in arguments)}))"
    handler = "__mesh_self._mesh_handler"
    head = f"def {method.name}({', '.join(parameters)}):"
    if method.shape is not Shape.UNARY:
        names["__mesh_open"] = opener(method, is_async=is_async)
        opened = f"__mesh_open(__mesh_self._mesh_streams, __mesh_self._mesh_bridge, {call})"
        waits = is_async and not method.yields
        source = f"async {head}\n    return await {opened}" if waits else f"{head}\n    return {opened}"
    elif is_async:
        source = (
            f"async {head}\n"
            f"    if {_ELSEWHERE}:\n"
            f"        return await __mesh_self._mesh_bridge.hand_over({handler}, {call})\n"
            f"    return await {handler}({call})"
        )
    else:
        source = f"{head}\n    return __mesh_self._mesh_bridge({handler}, {call})"
    exec(compile(source, f"<proxy of {method}>", "exec"), names)  # noqa: S102 - identifiers of a checked signature only
    function: Any = names[method.name]
    if method.yields:
        setattr(function, FORM, "async" if is_async else "blocking")
    # Not its __dict__, in which it is marked as abstract.
    return functools.update_wrapper(function, inspect.getattr_static(interface, method.name), updated=())
