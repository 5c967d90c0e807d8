"""Calls that fail, beyond those of tests/integration/test_bad_input.py, with the full text of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from tests.support.reference.failing_calls import (
    after_its_loop,
    answered,
    as_another_path,
    at_no_url,
    blocking_the_loop,
    blocking_unentered,
    building,
    elsewhere,
    forked,
    in_the_way,
    late,
    left,
    nested,
    no_class,
    no_module,
    no_such_method,
    no_such_object,
    of_a_request,
    on_a_blocked_loop,
    on_another_loop,
    one_too_many,
    open_to_others,
    outside,
    overloaded,
    policy_of_nothing,
    request_elsewhere,
    served,
    shared_policy,
    stuck,
    twice,
    unentered,
    without_lifespan,
    without_loop,
    without_mesh,
)


class Case(NamedTuple):
    """A call that fails.

    Attributes:
        text: of its error; <id>, <pid> and <folder> stand for what is different each time.
        kind: the error's class and code.
        act: makes the call.
    """

    text: str
    kind: str
    act: Callable[[], Awaitable[object]]


CASES: Final = [
    # --- Who is asked -------------------------------------------------------------------------------------------------
    Case(
        "component 'desk' is offered, but not over channel 'dispatch-json'; its instances offer: rest",
        "CommunicationError unavailable",
        partial(elsewhere, "static:desk=rest(http://127.0.0.1:9)", "dispatch-json"),
    ),
    Case(
        (
            "clerk.wait has no path, so channel 'rest' cannot call it: decorate it with @get, @post, ... or prefer "
            "another channel, such as 'dispatch-json'"
        ),
        "LocalError unimplemented",
        partial(elsewhere, "static:desk=rest(http://127.0.0.1:9)"),
    ),
    Case(
        (
            "archive.year cannot be called with /archive/latest over REST: GET /archive/latest is the path of "
            "archive.latest; use another channel"
        ),
        "LocalError invalid_argument",
        as_another_path,
    ),
    Case(
        (
            "component 'desk' cannot be looked up: DirectoryComponentRegistry('<folder>'): unavailable: no instance "
            "can be found: the registry's folder <folder> cannot be used: Not a directory"
        ),
        "CommunicationError unavailable",
        in_the_way,
    ),
    Case(
        (
            "component 'desk' cannot be looked up: DirectoryComponentRegistry('<folder>'): unavailable: no instance "
            "can be found: the registry's folder <folder> cannot be used: users other than its owner can write to it "
            "(mode 0777), and so announce instances; remove that right (chmod go-w <folder>), or name a folder that is "
            "not there yet, which is made for this user only (setting registry, as directory:<folder>/meshcore)"
        ),
        "CommunicationError unavailable",
        open_to_others,
    ),
    Case(
        "the URL 'h1:8000' cannot be used: it must begin with http://host or https://host",
        "CommunicationError unavailable",
        at_no_url,
    ),
    # --- Limits -------------------------------------------------------------------------------------------------------
    Case(
        "component 'desk': every instance has 2 calls of this mesh in flight (policy: concurrency)",
        "CommunicationError resource_exhausted",
        partial(one_too_many, 3),
    ),
    Case(
        "clerk.wait: 1 calls of this mesh are in flight already (setting max_calls)",
        "LocalError resource_exhausted",
        partial(one_too_many, 2, max_calls=1),
    ),
    Case(
        "this instance runs 1 calls already",
        "RemoteError resource_exhausted",
        partial(one_too_many, 2, max_concurrency=1, resilience=False),
    ),
    Case("this instance is overloaded", "RemoteError resource_exhausted", overloaded),
    Case(
        (
            "this instance has no free thread: 1 of 1 threads are held by calls that were given up "
            "(stuck.<locals>.Held.nest)"
        ),
        "RemoteError resource_exhausted",
        stuck,
    ),
    Case(
        "33 calls of def implementations wait for each other in this process, each in a thread",
        "LocalError resource_exhausted",
        nested,
    ),
    # --- Servers ------------------------------------------------------------------------------------------------------
    Case("this instance is stopping", "RemoteError unavailable", partial(served, "ask", stop=True)),
    Case("clerk.wait was stopped: shutdown", "RemoteError unavailable", partial(served, "wait", stop=True)),
    Case(
        "clerk.wait was stopped: deadline",
        "RemoteError deadline_exceeded",
        partial(served, "wait", headers={"mesh-timeout-ms": "50"}),
    ),
    Case(
        "a call that clerk.ask makes itself failed; the server's log has it as call <id>",
        "RemoteError unavailable",
        partial(served, "ask"),
    ),
    Case(
        "clerk.pay was executed by an earlier attempt: it failed with an error that is in the server's log",
        "RemoteError internal",
        partial(served, "pay", headers={"mesh-idempotency-key": "one"}, times=2),
    ),
    Case(
        "OutOfStock: bolt",
        "RemoteError not_found",
        partial(answered, {"code": "not_found", "message": "bolt", "type": "OutOfStock"}),
    ),
    # --- The mesh of the caller ---------------------------------------------------------------------------------------
    Case(
        "this mesh is not running; use it inside `async with Mesh(...)`",
        "LocalError failed_precondition",
        unentered,
    ),
    Case(
        "this mesh is not running; use it inside `with BlockingMesh(...)`",
        "LocalError failed_precondition",
        blocking_unentered,
    ),
    Case("this mesh has stopped", "LocalError failed_precondition", left),
    Case("clerk.wait was called, but the mesh has stopped", "LocalError failed_precondition", late),
    Case(
        (
            "clerk.wait was called in process <pid>, but its mesh runs in process <pid>, which forked this one: make a "
            "mesh after the fork, such as at its first use"
        ),
        "LocalError failed_precondition",
        forked,
    ),
    Case(
        (
            "this mesh has stopped: the event loop on which it was started has ended; start, call and stop it within "
            "one asyncio.run(), or use BlockingMesh, whose loop runs in a thread of its own"
        ),
        "LocalError failed_precondition",
        after_its_loop,
    ),
    Case(
        (
            "clerk.wait was called, but the event loop on which the mesh was started does not run: call it while that "
            "loop runs, or use BlockingMesh, whose loop runs in a thread of its own"
        ),
        "LocalError failed_precondition",
        on_another_loop,
    ),
    Case(
        (
            "clerk.nest was called from another thread, and the mesh's event loop has not begun with it within 0.01 s: "
            "something blocks that loop; it must not wait for the thread that calls"
        ),
        "LocalError deadline_exceeded",
        on_a_blocked_loop,
    ),
    Case(
        "clerk.wait is awaited without a running event loop of asyncio: await it in code that asyncio runs",
        "LocalError failed_precondition",
        without_loop,
    ),
    Case(
        (
            "a request arrived on another event loop than the one that its lifespan runs on: let one server run both, "
            "as in `with TestClient(app) as client`"
        ),
        "LocalError failed_precondition",
        request_elsewhere,
    ),
    Case(
        "clerk.wait was called while the mesh is being built; call services from startup() on",
        "LocalError failed_precondition",
        building,
    ),
    Case("a Mesh can be entered once; make another one", "LocalError failed_precondition", twice),
    Case(
        (
            "clerk.nest is declared with def and would block this thread's running event loop: declare it with async "
            "def, or call it in a thread, e.g. await anyio.to_thread.run_sync(...)"
        ),
        "LocalError failed_precondition",
        blocking_the_loop,
    ),
    Case(
        "current_call() was called outside of a call: it works only in an implementation and in what that calls",
        "LocalError failed_precondition",
        outside,
    ),
    Case(
        (
            "this application has no mesh: give it the lifespan of one, FastAPI(lifespan=mesh_lifespan(Module)) or "
            "FastAPI(lifespan=mesh_app.lifespan), or enter that in its own: `async with mesh_app.lifespan(app) as "
            "state`, and `yield state` if this application is mounted in that one"
        ),
        "LocalError failed_precondition",
        without_mesh,
    ),
    Case(
        "the mesh is not running: pass its lifespan to your application, FastAPI(lifespan=mesh_app.lifespan)",
        "LocalError failed_precondition",
        without_lifespan,
    ),
    Case(
        "object is no proxy of a service, so no policy governs calls to it",
        "LocalError invalid_argument",
        policy_of_nothing,
    ),
    Case(
        "policy: concurrency: shared by all calls to a component, so no single call can set it",
        "LocalError invalid_argument",
        shared_policy,
    ),
    Case("clerk has no method 'wiat'; did you mean 'wait'?", "LocalError invalid_argument", no_such_method),
    Case(
        "cannot get Answer: nothing provides Answer; add @injectable to it, or a @create method to a module",
        "ConfigurationError failed_precondition",
        no_such_object,
    ),
    Case(
        "Session lives in a request: async with injector.request() as scope, then scope.get",
        "LocalError failed_precondition",
        of_a_request,
    ),
    Case(
        "no module to serve: set MESHCORE_MODULE=package.module:Class, or `module` in [tool.meshcore]",
        "ConfigurationError failed_precondition",
        no_module,
    ),
    Case(
        "setting module = 'json:dumps' (from: default): dumps is a function, not a class decorated with @module",
        "ConfigurationError failed_precondition",
        no_class,
    ),
]
