"""meshcore: a proxyless service mesh inside the Python process.

Declare a typed interface, implement it, and call it with `await mesh.get_service(Interface)`, wherever it runs.
"""

from typing import TYPE_CHECKING

from meshcore.core.lazy import lazy_names

if TYPE_CHECKING:
    from meshcore.asgi.openapi.openapi import openapi
    from meshcore.client.proxy import with_key, with_policy
    from meshcore.core.attempt import Attempt
    from meshcore.core.call import (
        Call,
        Handler,
        Interceptor,
        Interceptors,
        SendItem,
        StreamHandler,
        StreamInterceptor,
        compose,
    )
    from meshcore.core.caller import Caller, Proof
    from meshcore.core.context.current_call import CurrentCall, current_call
    from meshcore.core.description import ComponentDescription, Method, Parameter, ServiceDescription, Shape
    from meshcore.core.errors import (
        AuthorizationError,
        Code,
        CommunicationError,
        ConfigurationError,
        LocalError,
        MeshError,
        RemoteError,
    )
    from meshcore.core.instances import Absent, Bound, ChannelAddress, Endpoint, Failed, Instance, Pending, Sighting
    from meshcore.core.masking import Secret
    from meshcore.core.policy import Policy
    from meshcore.core.settings import Settings
    from meshcore.core.value import Value
    from meshcore.declare.advice import Invocation, advice, around, methods
    from meshcore.declare.components import AbstractComponent, Component, ComponentStatus
    from meshcore.declare.health import HealthCheckManager, HealthStatus, health_check, health_checks
    from meshcore.declare.http import (
        Body,
        Content,
        Header,
        HeaderParam,
        Path,
        PathParam,
        Query,
        QueryParam,
        delete,
        get,
        patch,
        post,
        put,
        rest,
    )
    from meshcore.declare.injection import create, inject_service, inject_value, injectable, module, on_destroy, on_init
    from meshcore.declare.reader import describe
    from meshcore.declare.security.authorization import allow, allow_any
    from meshcore.declare.security.pass_token import pass_token
    from meshcore.declare.services import (
        Service,
        affinity,
        channel,
        component,
        health,
        idempotency_key,
        idempotent,
        implementation,
        in_thread,
        raises,
        service,
        shielded,
    )
    from meshcore.declare.streaming.resumption import resumable
    from meshcore.mesh.blocking import BlockingMesh
    from meshcore.mesh.forms import awaitable, blocking
    from meshcore.mesh.frameworks import client_module, mesh_lifespan, mesh_of, problem_details, provide
    from meshcore.mesh.mesh import Mesh
    from meshcore.mesh.settings_loader import load_settings
    from meshcore.ports.channel import Channel, ChannelOptions
    from meshcore.ports.registry import ComponentRegistry
    from meshcore.ports.values import ValueSource
    from meshcore.security.tokens.bearer import BearerToken
    from meshcore.security.tokens.client_credentials import ClientCredentials
    from meshcore.security.tokens.sources import TokenFile, TokenSource
    from meshcore.security.tokens.verifier import TokenVerifier
    from meshcore.serve.mesh_app import MeshApp
    from meshcore.telemetry.logs.call_fields import CallFields
    from meshcore.telemetry.tap.seen_call import SeenAttempt, SeenCall
    from meshcore.traffic.least_loaded import LeastLoadedURLSelector
    from meshcore.traffic.selectors import (
        FirstURLSelector,
        PolicyURLSelector,
        RandomURLSelector,
        RoundRobinURLSelector,
    )
    from meshcore.traffic.url_selector import URLSelector

__all__ = [
    "Absent",
    "AbstractComponent",
    "Attempt",
    "AuthorizationError",
    "BearerToken",
    "BlockingMesh",
    "Body",
    "Bound",
    "Call",
    "CallFields",
    "Caller",
    "Channel",
    "ChannelAddress",
    "ChannelOptions",
    "ClientCredentials",
    "Code",
    "CommunicationError",
    "Component",
    "ComponentDescription",
    "ComponentRegistry",
    "ComponentStatus",
    "ConfigurationError",
    "Content",
    "CurrentCall",
    "Endpoint",
    "Failed",
    "FirstURLSelector",
    "Handler",
    "Header",
    "HeaderParam",
    "HealthCheckManager",
    "HealthStatus",
    "Instance",
    "Interceptor",
    "Interceptors",
    "Invocation",
    "LeastLoadedURLSelector",
    "LocalError",
    "Mesh",
    "MeshApp",
    "MeshError",
    "Method",
    "Parameter",
    "Path",
    "PathParam",
    "Pending",
    "Policy",
    "PolicyURLSelector",
    "Proof",
    "Query",
    "QueryParam",
    "RandomURLSelector",
    "RemoteError",
    "RoundRobinURLSelector",
    "Secret",
    "SeenAttempt",
    "SeenCall",
    "SendItem",
    "Service",
    "ServiceDescription",
    "Settings",
    "Shape",
    "Sighting",
    "StreamHandler",
    "StreamInterceptor",
    "TokenFile",
    "TokenSource",
    "TokenVerifier",
    "URLSelector",
    "Value",
    "ValueSource",
    "advice",
    "affinity",
    "allow",
    "allow_any",
    "around",
    "awaitable",
    "blocking",
    "channel",
    "client_module",
    "component",
    "compose",
    "create",
    "current_call",
    "delete",
    "describe",
    "get",
    "health",
    "health_check",
    "health_checks",
    "idempotency_key",
    "idempotent",
    "implementation",
    "in_thread",
    "inject_service",
    "inject_value",
    "injectable",
    "load_settings",
    "mesh_lifespan",
    "mesh_of",
    "methods",
    "module",
    "on_destroy",
    "on_init",
    "openapi",
    "pass_token",
    "patch",
    "post",
    "problem_details",
    "provide",
    "put",
    "raises",
    "rest",
    "resumable",
    "service",
    "shielded",
    "with_key",
    "with_policy",
]

if not TYPE_CHECKING:
    # `meshcore --help`, and each start of a pytest that has the plugin, need next to none of them. A test compares this
    # with what type checkers see above.
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "asgi.openapi.openapi": "openapi",
            "client.proxy": "with_key with_policy",
            "core.attempt": "Attempt",
            "core.call": "Call Handler Interceptor Interceptors SendItem StreamHandler StreamInterceptor compose",
            "core.caller": "Caller Proof",
            "core.context.current_call": "CurrentCall current_call",
            "core.description": "ComponentDescription Method Parameter ServiceDescription Shape",
            "core.errors": "AuthorizationError Code CommunicationError "
            "ConfigurationError LocalError MeshError RemoteError",
            "core.instances": "Absent Bound ChannelAddress Endpoint Failed Instance Pending Sighting",
            "core.masking": "Secret",
            "core.policy": "Policy",
            "core.settings": "Settings",
            "core.value": "Value",
            "declare.advice": "Invocation advice around methods",
            "declare.security.authorization": "allow allow_any",
            "declare.components": "AbstractComponent Component ComponentStatus",
            "declare.health": "HealthCheckManager HealthStatus health_check health_checks",
            "declare.http": "Body Content Header HeaderParam Path PathParam Query "
            "QueryParam delete get patch post put rest",
            "declare.injection": "create inject_service inject_value injectable module on_destroy on_init",
            "declare.reader": "describe",
            "declare.security.pass_token": "pass_token",
            "declare.services": "Service affinity channel component health "
            "idempotency_key idempotent implementation in_thread raises service shielded",
            "declare.streaming.resumption": "resumable",
            "mesh.frameworks": "client_module mesh_lifespan mesh_of problem_details provide",
            "mesh.blocking": "BlockingMesh",
            "mesh.forms": "awaitable blocking",
            "mesh.mesh": "Mesh",
            "mesh.settings_loader": "load_settings",
            "ports.channel": "Channel ChannelOptions",
            "ports.registry": "ComponentRegistry",
            "ports.values": "ValueSource",
            "security.tokens.bearer": "BearerToken",
            "security.tokens.client_credentials": "ClientCredentials",
            "security.tokens.sources": "TokenFile TokenSource",
            "security.tokens.verifier": "TokenVerifier",
            "serve.mesh_app": "MeshApp",
            "telemetry.logs.call_fields": "CallFields",
            "telemetry.tap.seen_call": "SeenAttempt SeenCall",
            "traffic.least_loaded": "LeastLoadedURLSelector",
            "traffic.selectors": "FirstURLSelector PolicyURLSelector RandomURLSelector RoundRobinURLSelector",
            "traffic.url_selector": "URLSelector",
        },
    )
