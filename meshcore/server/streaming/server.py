"""Admits and runs streaming calls, beside those that a `Server` runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from msgspec import UNSET

from meshcore.core.call import Call, SendItem, StreamHandler, ambient_attempt, ambient_deadline
from meshcore.core.context.current_call import ambient_request, ambient_trace
from meshcore.core.description import Method
from meshcore.core.errors import Code, ImplementationError, LocalError, MeshError
from meshcore.server.refusals import NotBegunError
from meshcore.server.request import ServedRequest
from meshcore.server.server import Server
from meshcore.telemetry.trace_context import read_trace


class StreamingServer(Server):
    """A server that runs streaming calls, too.

    A stream counts among the calls that run at once, but not for the adaptive limit: it takes time because its reader
    or the world takes time, not because the server is slow.

    Args:
        handler: runs the calls that do not stream.
        streams: runs those that do.

    Attributes:
        open_streams: the number of running ones.
    """

    def __init__(self, handler: Any, streams: StreamHandler, **options: Any) -> None:
        super().__init__(handler, **options)
        self._streams = streams
        self._most = int(options["max_concurrency"])
        self._none_open: asyncio.Event | None = None  # set when the last stream ends; only while draining
        self.open_streams = 0

    async def run_stream(
        self, request: ServedRequest, method: Method, arguments: tuple[Any, ...], send: SendItem
    ) -> Any:
        """Run the streaming call of a request. It is stopped at its deadline, or when its caller leaves.

        A caller that grants more time than `request_timeout` gets it: its policy has lifted the bound. Whoever says
        nothing, such as a browser, gets the time that the method's own policy grants.

        Raises:
            MeshError: raised by the implementation; or RESOURCE_EXHAUSTED, not processed: too many calls run.
            Exception: raised by the implementation.
        """
        begun = time.monotonic()
        if self.active + self.open_streams >= self._most:
            self.served.refuse("max_concurrency")
            text = f"this instance runs {self._most} calls already"
            raise MeshError(Code.RESOURCE_EXHAUSTED, text, processed=False, retry_after=1.0)
        if request.headers.seconds is not None:
            request.set_deadline(begun + request.headers.seconds)
        elif method.policy is not None and method.policy.timeout is not UNSET:
            request.set_deadline(begun + method.policy.timeout)
        headers, attempt = request.headers, request.headers.attempt
        peer = request.peer
        calls = self.served.by_caller[peer.key(headers.caller)][method]
        if method.stream_at is not None:
            arguments[method.stream_at].calls = calls

        def send_counted(item: Any) -> Awaitable[None]:
            calls.sent += 1
            return send(item)

        call = Call(method, arguments, headers, request.deadline, attempt, peer=peer.host, caller=peer.caller)
        tokens = ambient_deadline.set(request.deadline), ambient_attempt.set(attempt), ambient_request.set(request)
        trace_token = ambient_trace.set(None if headers.trace is None else read_trace(headers.trace))
        request.method, request.begun = method, begun
        self.open_streams += 1
        try:
            return await self._streams(call, send_counted)
        except LocalError as error:  # as in `Server.run`
            raise ImplementationError from error
        except MeshError as error:
            if not isinstance(error, NotBegunError) or error.from_local_call:
                error.processed = True
            raise
        finally:
            ambient_deadline.reset(tokens[0])
            ambient_attempt.reset(tokens[1])
            ambient_request.reset(tokens[2])
            ambient_trace.reset(trace_token)
            self.open_streams -= 1
            if self._none_open is not None and not self.open_streams:
                self._none_open.set()

    async def drain(self, seconds: float, hurry: asyncio.Event) -> int:
        """Refuse new calls, wait for running ones and for streams, then stop the rest: streams may never end."""
        self.draining = True
        self.refused_at = begun = time.monotonic()
        if self.open_streams:
            for drains in tuple(self.drains):  # now, and not when the streams have ended
                drains()
            self._none_open = asyncio.Event()
            waiting = [asyncio.create_task(event.wait()) for event in (self._none_open, hurry)]
            try:
                await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
        return await super().drain(max(begun + seconds - time.monotonic(), 0.0), hurry)
