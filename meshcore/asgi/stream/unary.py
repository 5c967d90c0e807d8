"""Runs a call that has no items: `serve` for calls that are complete and whose answers are handed over, not awaited.

What a call takes of the server, in us: a tree of seven nodes there and back, messages of 64 calls, CPython 3.13; the
app with a WebSocket in memory. Before, each call had headers of its own, a task of the loop, and a run of `serve`, and
results were checked as dataclasses, but no calls were counted. The rows are shares of a profiler's samples.

    | layer                                                     | before | now  |
    |-----------------------------------------------------------|--------|------|
    | frames: parse, states, answer                             | 1.4    | 1.6  |
    | headers of the request                                    | 1.0    | 0.1  |
    | event loop, task, waking the writer                       | 3.1    | 2.6  |
    | endpoint: the call, its answer, the steps of `serve`      | 4.9    | 2.5  |
    | admission, scope, deadline, limit, and counting           | 3.3    | 2.9  |
    | decoding the arguments                                    | 3.3    | 2.9  |
    | implementation, and what runs it                          | 0.9    | 0.6  |
    | encoding the result, and checking it                      | 4.3    | 2.6  |
    | all                                                       | 22.6   | 15.8 |

wsproto adds 15 us for a message with one call, 47 us for one with 64.
"""

from __future__ import annotations

from typing import Any

from meshcore.asgi.messages import CHUNK
from meshcore.asgi.served_call import answer_failure, count_success
from meshcore.asgi.stream.call import Answers, StreamCall
from meshcore.server.request import NotRead, ServedRequest
from meshcore.server.server import Server
from meshcore.wire.stream_codec import StreamCodec


async def serve_unary(server: Server, call: StreamCall, codec: StreamCodec, answers: Answers) -> None:
    """Run a call and answer it. The steps are those of `serve`, which would take 2 us more for a call of 17.

    Args:
        server: admits it.
        call: what is called.
        codec: of its method.
        answers: the way to the caller.
    """
    request: ServedRequest | None = None
    arguments: tuple[Any, ...] | None = None
    sending = False
    try:
        with server.accept(call.headers, call.peer, call.left) as request:
            call.codec = codec
            if (guard := server.guard) is not None and (verified := guard(request, codec.called)) is not None:
                await verified
            payload, call.payload = call.payload, b""
            arguments = codec.decode_arguments(payload)
            del payload  # an implementation may take its time
            result = await server.run(request, codec.called, arguments)
            payload = codec.encode_payload(result)
            size = len(payload)
            if size <= CHUNK and size <= answers.longest:
                count_success(server, call, request, codec.called, arguments)
                answers.end(call.number, payload, failed=False)
                return
            answer = call.answer(payload)
            del payload, result  # they are not needed while a client takes its time to read
            with server.sending(size):
                count_success(server, call, request, codec.called, arguments)
                arguments = None
                sending = True
                request.answer()
                await answer.send(answers, close=server.draining)
    except NotRead:
        call.cut_off(answers)
    except BaseException as error:  # noqa: BLE001 - raised again, or answered
        await answer_failure(server, call, error, answers, request, arguments, sending=sending)
