"""The REST channel. It sends each call with the verb and path of its method, also to servers without meshcore."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from yarl import URL

from meshcore.codec.codec import JSON, Limits
from meshcore.codec.errors import DecodeError, EncodeError
from meshcore.core.call import Call, SendItem
from meshcore.core.description import ComponentDescription, HttpMapping, Method, Shape, Source
from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.core.instances import Endpoint
from meshcore.core.masking import without_secrets
from meshcore.declare.services import channel
from meshcore.ports.channel import ChannelOptions
from meshcore.wire.answer import Answer
from meshcore.wire.errors import ErrorCodec, unfit_answer
from meshcore.wire.headers import METHOD, RETRY_AFTER, read_retry_after
from meshcore.wire.problem_details import CONTENT_TYPE as PROBLEM_TYPE
from meshcore.wire.problem_details import ProblemReader
from meshcore.wire.rest_parameters import TextParameter
from meshcore.wire.rest_paths import quote_text
from meshcore.wire.rest_routing import PathWriter, Routes, meant_method, routes_of
from meshcore.wire.streaming.rest_streams import ACCEPT as STREAM_ACCEPT
from meshcore.wire.streaming.rest_streams import JSON_LINES

from .http import HTTPChannel, parse_url
from .http_streams import read_whole
from .rest_streams import RestStream

_SUCCESS = range(200, 300)
_BROKEN = 500
"""Stands for the status of a stream that ended with a problem of another kind of server."""


@channel("rest")
class RestChannel(HTTPChannel):
    """Sends calls as plain JSON over REST."""

    streams = frozenset({Shape.SERVER_STREAM, Shape.CLIENT_STREAM})

    @classmethod
    def why_not(cls, method: Method) -> str:
        """Why the channel cannot carry the calls of a method: it needs a path, too."""
        return super().why_not(method) or ("" if method.http else f"is a {method.shape.value} without a path")

    def bind(self, component: ComponentDescription, options: ChannelOptions) -> None:
        """Prepare all methods that have an HTTP mapping.

        Raises:
            ConfigurationError: a parameter in path, query or headers has no text form.
        """
        super().bind(component, options)
        limits = Limits(max_depth=options.max_depth, max_items=options.max_items)
        routes = routes_of(component)
        self._operations: dict[Method, _Operation] = {
            method: _Operation(component, method, method.http, routes, limits)
            for service in component.services
            for method in service.methods
            if method.http is not None
        }

    async def invoke(self, call: Call, endpoint: Endpoint) -> Any:
        """Send one call.

        Raises:
            LocalError: the method has no HTTP mapping, or an argument cannot be written into the request.
        """
        operation = self._operation(call.method)
        url = URL(_base(endpoint.url) + operation.target(call.arguments), encoded=True)
        body = operation.body(call.arguments)
        headers = operation.headers(call.arguments, has_body=body is not None)
        answer = await self.exchange(call, operation.verb, url, headers, body)
        return operation.result(answer, endpoint)

    async def invoke_stream(self, call: Call, endpoint: Endpoint, send: SendItem) -> Any:
        """Send one streaming call.

        Raises:
            LocalError: the method has no HTTP mapping, or an argument cannot be written into the request.
        """
        operation, limit = self._operation(call.method), self.options.max_body
        url = URL(_base(endpoint.url) + operation.target(call.arguments), encoded=True)
        body = operation.body(call.arguments)
        request = operation.stream.request(call, body)
        streams_body = call.method.stream_at is not None
        headers = operation.headers(call.arguments, has_body=streams_body or body is not None)
        try:
            async with self.exchange_stream(call, operation.verb, url, headers, request.body) as answer:
                if answer.status not in _SUCCESS or not call.method.yields:
                    return operation.result(await read_whole(call, answer, limit), endpoint)
                problem = await operation.stream.receive(answer, send, limit)
        except CommunicationError as error:
            if request.error is not None:  # of the connection it is known only that the body was not sent
                raise request.error from error
            raise
        if problem is not None:
            raise operation.problem(Answer(_BROKEN, answer.headers, problem), endpoint)
        return None

    def _operation(self, method: Method) -> _Operation:
        operation = self._operations.get(method)
        if operation is None:
            text = (
                f"{method} has no path, so channel 'rest' cannot call it: decorate it with @get, @post, ... "
                "or prefer another channel, such as 'dispatch-json'"
            )
            raise LocalError(Code.UNIMPLEMENTED, text)
        return operation


_ACCEPT = {
    False: {"accept": f"{JSON.content_type}, {PROBLEM_TYPE}"},
    True: {"accept": f"{STREAM_ACCEPT}, {PROBLEM_TYPE}"},
}
"""By whether the result streams."""


class _Operation:
    """Writes the requests and reads the answers of one method.

    Attributes:
        verb: the HTTP method.
        stream: for streaming calls.
    """

    def __init__(
        self,
        component: ComponentDescription,
        method: Method,
        http: HttpMapping,
        routes: Routes[Method],
        limits: Limits,
    ) -> None:
        self.verb = http.verb
        self.stream = RestStream(method, limits)
        self._method = method
        self._writer = PathWriter(method, http, routes)
        at = {parameter.name: index for index, parameter in enumerate(method.parameters)}
        texts = {each.name: TextParameter(method, each) for each in method.parameters if each.source is not Source.BODY}
        self._path = [(at[name], texts.pop(name)) for name in self._writer.names]
        by_source = {each.name: each.source for each in method.parameters}
        self._headers = [
            (at[name], text.name, text) for name, text in texts.items() if by_source[name] is Source.HEADER
        ]
        self._query = [
            (at[name], quote_text(text.name), text)
            for name, text in texts.items()
            if by_source[name] is not Source.HEADER
        ]
        bodies = [each for each in method.parameters if each.source is Source.BODY]
        names = {name for _, name, _ in self._headers}
        accept = {} if "accept" in names else _ACCEPT[method.yields]  # else the server would read ours as the argument
        meant = {METHOD: meant_method(component.name, method)} if self._path else {}
        self._without_body = {**accept, **meant}
        whole = bodies[:1] if method.stream_at is None else []
        content_type = JSON.content_type if method.stream_at is None else JSON_LINES
        self._with_body = {**self._without_body, "content-type": content_type}
        self._body = (at[whole[0].name], JSON.encoder(whole[0].type)) if whole else None
        self._read = JSON.decoder(method.returns, limits)
        self._read_any = JSON.decoder(Any, limits)
        self._problems = ProblemReader(ErrorCodec(JSON, method, limits), limits)

    def target(self, arguments: tuple[Any, ...]) -> str:
        """Return the quoted path and query.

        Raises:
            LocalError: an argument cannot be written there.
        """
        path = self._writer.write([self._segment(text, arguments[at]) for at, text in self._path])
        query = "&".join(
            f"{name}={quote_text(value)}"
            for at, name, text in self._query
            for value in self._texts(text, arguments[at])
        )
        return f"{path}?{query}" if query else path

    def headers(self, arguments: tuple[Any, ...], *, has_body: bool) -> dict[str, str]:
        """Return the headers that depend on the arguments and the body.

        Raises:
            LocalError: an argument cannot be written there.
        """
        fixed = self._with_body if has_body else self._without_body
        if not self._headers:
            return fixed
        found: dict[str, str] = dict(fixed)
        for at, name, text in self._headers:
            try:
                value = text.write_header(arguments[at])
            except EncodeError as error:
                raise self._unfit(text.label, error) from error
            if value is not None:
                found[name] = value
        return found

    def body(self, arguments: tuple[Any, ...]) -> bytes | None:
        """Return the body; None for none.

        Raises:
            LocalError: the argument cannot be encoded.
        """
        if self._body is None:
            return None
        at, write = self._body
        try:
            return write(arguments[at])
        except EncodeError as error:
            raise self._unfit("body", error) from error

    def result(self, answer: Answer, endpoint: Endpoint) -> Any:
        """Return the result in an answer. An empty body is null.

        Raises:
            RemoteError: the answer is an error. A declared exception is raised as itself.
            CommunicationError: the result does not fit the interface.
        """
        if answer.status not in _SUCCESS:
            raise self.problem(answer, endpoint)
        try:
            return self._read(answer.body or b"null")
        except DecodeError as error:
            unfit = unfit_answer(self._method, error, readable=self._readable(answer.body))
            unfit.message += f" (from {without_secrets(endpoint.url)})"
            raise unfit from error

    def problem(self, answer: Answer, endpoint: Endpoint) -> Exception:
        """Return the error in an answer."""
        pause = read_retry_after(answer.headers.get(RETRY_AFTER))
        return self._problems.read(
            answer.status, answer.body, f"{self._method}: {without_secrets(endpoint.url)}", pause
        )

    def _readable(self, data: bytes) -> bool:
        try:
            self._read_any(data)
        except DecodeError:
            return False
        return True

    def _texts(self, text: TextParameter, value: Any) -> tuple[str, ...]:
        try:
            return text.write(value)
        except EncodeError as error:
            raise self._unfit(text.label, error) from error

    def _segment(self, text: TextParameter, value: Any) -> str:
        texts = self._texts(text, value)
        if len(texts) != 1 or not texts[0]:
            raise self._unfit(text.label, EncodeError("$", f"{value!r} has no form in a path"))
        return texts[0]

    def _unfit(self, label: str, error: EncodeError) -> LocalError:
        place = f"{label}{error.path.removeprefix('$')}"
        return LocalError(Code.INVALID_ARGUMENT, f"{self._method}: {place}: {error.reason}")


@lru_cache(1024)
def _base(url: str) -> str:
    """Return the quoted URL of an instance without a slash at its end. The rest of a request's URL is quoted, too.

    Raises:
        CommunicationError: the URL cannot be used.
    """
    return str(parse_url(url)).rstrip("/")
