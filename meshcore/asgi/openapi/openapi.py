"""Makes the OpenAPI 3.1 document of the REST methods of components, from their descriptions alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from meshcore.asgi.openapi.schemas import REFERENCE, Schema, schemas_of, without_null
from meshcore.codec.codec import JSON
from meshcore.codec.declared_exceptions import DeclaredException, declared_exception
from meshcore.codec.pydantic_models import encode_hook
from meshcore.core.call import LONGEST_KEY
from meshcore.core.description import ComponentDescription, HttpMapping, Method, Parameter, ServiceDescription, Source
from meshcore.core.errors import Code, ConfigurationError
from meshcore.declare.http_mapping import NO_CONTENT
from meshcore.declare.reader import describe_component
from meshcore.wire.headers import IDEMPOTENCY_KEY
from meshcore.wire.problem_details import CONTENT_TYPE, status_phrase
from meshcore.wire.rest_parameters import TextParameter
from meshcore.wire.rest_paths import PathTemplate
from meshcore.wire.streaming.event_keys import EventKeys
from meshcore.wire.streaming.rest_streams import FORMS, JSON_LINES

_BAD_REQUEST, _NOT_ACCEPTABLE, _TOO_LARGE, _WRONG_MEDIA_TYPE = 400, 406, 413, 415

_PROBLEM: Schema = {
    "title": "Problem",
    "description": "An error (RFC 9457), with what a mesh says of it.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "The kind of problem; about:blank: the status says it."},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What went wrong."},
        "code": {"type": "string", "enum": [code.value for code in Code], "description": "One of gRPC's codes."},
        "retryable": {"type": "boolean", "description": "Whether the same call may succeed later."},
        "processed": {"type": "boolean", "description": "Whether work may have begun."},
        "details": {"type": "object", "description": "Facts for programs."},
        "exception": {"type": "string", "description": "The name of a declared exception."},
        "fields": {"description": "Those of the exception."},
        "retry_after": {"type": "number", "description": "Seconds after which the call may come back."},
    },
    "required": ["type", "title", "status", "code", "retryable", "processed"],
}

_KEY_PARAMETER = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "description": "The same for all repetitions of one call: it is executed once. Also understood: Idempotency-Key.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
}


_LAST_EVENT_PARAMETER = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last server-sent event: the stream goes on behind it. Browsers send it themselves.",
    "schema": {"type": "string"},
}


def openapi(components: Iterable[type], *, version: str = "", prefix: str = "") -> dict[str, Any]:
    """The OpenAPI 3.1 document of what components offer over REST, as plain data.

    Args:
        components: classes decorated with `@component`; methods without a path are left out.
        version: of what is served.
        prefix: of all paths, where the application is mounted.

    Raises:
        ConfigurationError: with everything that is wrong with the components.
    """
    problems: list[str] = []
    described = [describe_component(each, problems) for each in components]
    if problems:
        raise ConfigurationError("These components have no document", problems)
    return document_of(described, version=version, prefix=prefix)


def document_of(components: Iterable[ComponentDescription], *, version: str = "", prefix: str = "") -> dict[str, Any]:
    """The document of components that are described already.

    Args:
        components: whose services are told; methods without a path are left out.
        version: of what is served.
        prefix: of all paths, where the application is mounted.

    Raises:
        ConfigurationError: a parameter in path, query or headers has no form as text.
    """
    return _Document(tuple(components)).build(version, prefix)


class _Document:
    def __init__(self, components: tuple[ComponentDescription, ...]) -> None:
        self._components = components
        self._operations: dict[tuple[str, str], tuple[ServiceDescription, Method, HttpMapping]] = {}
        # To OpenAPI, paths that differ only in the names of their parameters are equal: the first one gives the names.
        templates: dict[tuple[str, ...], PathTemplate] = {}
        self._names: dict[tuple[Method, str], str] = {}
        for component in components:
            for service in component.services:
                for method in service.methods:
                    if method.http is not None:
                        own = PathTemplate(method.http.path)
                        first = templates.setdefault(own.shape, own)
                        names = zip(own.names, first.names, strict=True)
                        self._names |= {(method, name): shown for name, shown in names}
                        place = (first.quoted, method.http.verb.lower())
                        self._operations.setdefault(place, (service, method, method.http))
        methods = [method for _, method, _ in self._operations.values()]
        self._declared: dict[type[Exception], DeclaredException] = {
            error: declared_exception(error) for method in methods for error in method.raises
        }
        # In pairs, since types need not be hashable.
        read = [(method, each) for method in methods for each in method.parameters]
        inputs, outputs, self._schemas = schemas_of(
            [each.type for _, each in read],
            [*(method.returns for method in methods), *(declared.carrier for declared in self._declared.values())],
        )
        self._inputs = {(method, each.name): schema for (method, each), schema in zip(read, inputs, strict=True)}
        self._results = dict(zip(methods, outputs, strict=False))
        self._problem = self._name("Problem", _PROBLEM)
        fields = outputs[len(methods) :]
        self._problems = {
            error: self._name(f"{declared.name}Problem", self._problem_of(declared, schema))
            for (error, declared), schema in zip(self._declared.items(), fields, strict=True)
        }

    def build(self, version: str, prefix: str) -> dict[str, Any]:
        """The document."""
        paths: dict[str, dict[str, Any]] = {}
        for (path, verb), (service, method, http) in self._operations.items():
            paths.setdefault(path, {})[verb] = self._operation(service, method, http)
        texts = [f"{each.name}: {each.description}" for each in self._components if each.description]
        services = {service.name: service.description for service, _, _ in self._operations.values()}
        document = {
            "openapi": "3.1.0",
            "info": {
                "title": ", ".join(each.name for each in self._components),
                "version": version or "0",
                **_given(description="\n\n".join(texts)),
            },
            "servers": [{"url": prefix or "/"}],
            "tags": [{"name": name, **_given(description=text)} for name, text in services.items()],
            "paths": paths,
            "components": {"schemas": self._schemas},
        }
        plain_document: dict[str, Any] = msgspec.json.decode(JSON.encoder(Any)(document))
        return plain_document

    def _operation(self, service: ServiceDescription, method: Method, http: HttpMapping) -> dict[str, Any]:
        texts = [each for each in method.parameters if each.source is not Source.BODY]
        parameters = [self._parameter(method, each) for each in texts]
        if method.idempotency_key is not None:
            parameters.append(_KEY_PARAMETER)
        if EventKeys.of(method) is not None:
            parameters.append(_LAST_EVENT_PARAMETER)
        body = next((each for each in method.parameters if each.source is Source.BODY), None)
        return {
            "operationId": str(method),
            "tags": list(http.tags) or [service.name],
            **_given(summary=method.summary, description=method.description, parameters=parameters),
            **({"requestBody": self._body(method, body)} if body is not None else {}),
            "responses": self._responses(method, http, has_body=body is not None),
            "x-idempotent": method.idempotent,
        }

    def _parameter(self, method: Method, parameter: Parameter) -> dict[str, Any]:
        text = TextParameter(method, parameter)
        schema = without_null(self._inputs[method, parameter.name])
        in_path = parameter.source is Source.PATH
        if in_path and schema.get("type") == "string" and "enum" not in schema and "const" not in schema:
            schema = {"minLength": 1, **schema}  # an empty one would be another path
        if not parameter.required and parameter.default is not None:
            schema = {**schema, **_encoded("default", parameter.default)}
        return {
            "name": self._names[method, text.name] if in_path else text.name,
            "in": parameter.source.value if parameter.source else "query",
            "required": in_path or text.required,
            **_given(description=parameter.description),
            "schema": schema,
            **(_encoded("example", parameter.example) if parameter.example is not None else {}),
        }

    def _body(self, method: Method, parameter: Parameter) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": self._inputs[method, parameter.name]}
        if parameter.example is not None:
            content |= _encoded("example", parameter.example)
        return {
            **_given(description=parameter.description),
            "required": parameter.required,
            "content": {JSON_LINES if parameter.stream else JSON.content_type: content},
        }

    def _responses(self, method: Method, http: HttpMapping, *, has_body: bool) -> dict[str, Any]:
        success: dict[str, Any] = {"description": status_phrase(http.status)}
        errors: dict[int, list[str]] = {}
        if method.yields:
            success["description"] = "A stream. The schema is that of an item."
            success["content"] = {form.content_type: {"schema": self._results[method]} for form in FORMS}
            errors[_NOT_ACCEPTABLE] = [self._problem]
        elif http.status != NO_CONTENT:
            success["content"] = {JSON.content_type: {"schema": self._results[method]}}
        if method.parameters:
            errors[_BAD_REQUEST] = [self._problem]
        if has_body:
            errors |= {_TOO_LARGE: [self._problem], _WRONG_MEDIA_TYPE: [self._problem]}
        for error in method.raises:
            errors.setdefault(self._declared[error].code.http_status, []).append(self._problems[error])
        return {
            str(http.status): success,
            **{str(status): _error(status_phrase(status), names) for status, names in sorted(errors.items())},
            "default": _error("Any other error", [self._problem]),
        }

    def _problem_of(self, declared: DeclaredException, fields: Schema) -> Schema:
        """Of a declared exception."""
        return {
            "title": f"{declared.name}Problem",
            "allOf": [
                {"$ref": REFERENCE + self._problem},
                {
                    "type": "object",
                    "properties": {
                        "status": {"const": declared.code.http_status},
                        "code": {"const": declared.code.value},
                        "exception": {"const": declared.name},
                        "fields": fields,
                    },
                    "required": ["exception", "fields"],
                },
            ],
        }

    def _name(self, name: str, schema: Schema) -> str:
        """Add a schema under this name, or a similar name if a class of the user has it."""
        while name in self._schemas:
            name += "_"
        self._schemas[name] = schema
        return name


def _error(description: str, names: list[str]) -> dict[str, Any]:
    choices = [{"$ref": REFERENCE + name} for name in names]
    schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return {"description": description, "content": {CONTENT_TYPE: {"schema": schema}}}


def _given(**members: Any) -> dict[str, Any]:
    """The members that are not empty."""
    return {name: value for name, value in members.items() if value}


def _encoded(name: str, value: Any) -> Mapping[str, Any]:
    """A value as plain JSON data; nothing if JSON cannot express it."""
    try:
        return {name: _plain(value)}
    except (TypeError, ValueError, msgspec.MsgspecError):
        return {}


_plain = partial(msgspec.to_builtins, str_keys=True, enc_hook=encode_hook)
