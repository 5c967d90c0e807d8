"""meshcore: a proxyless service mesh inside the Python process.

Declare a typed interface, implement it, and call it with `await mesh.get_service(Interface)`, wherever it runs.
"""

from meshcore.adopt import client_module, mesh_lifespan, mesh_of, provide
from meshcore.aspects import Invocation, advice, around, methods
from meshcore.attempt import Attempt
from meshcore.balance import (
    FirstURLSelector,
    LeastLoadedURLSelector,
    PolicyURLSelector,
    RandomURLSelector,
    RoundRobinURLSelector,
    URLSelector,
)
from meshcore.blocking import BlockingMesh
from meshcore.call import Call, Handler, Interceptor, compose
from meshcore.components import AbstractComponent, Component, ComponentStatus
from meshcore.current import CurrentCall, current_call
from meshcore.declare import (
    Body,
    Content,
    Header,
    HeaderParam,
    Path,
    PathParam,
    Query,
    QueryParam,
    Service,
    affinity,
    channel,
    component,
    delete,
    get,
    health,
    idempotency_key,
    idempotent,
    implementation,
    patch,
    post,
    put,
    raises,
    rest,
    service,
    shielded,
)
from meshcore.description import describe
from meshcore.errors import (
    AuthorizationError,
    Code,
    CommunicationError,
    ConfigurationError,
    LocalError,
    MeshError,
    RemoteError,
)
from meshcore.healthcheck import HealthCheckManager, HealthStatus, health_check, health_checks
from meshcore.injection import create, inject_service, inject_value, injectable, module, on_destroy, on_init
from meshcore.instances import (
    Absent,
    Bound,
    ChannelAddress,
    Endpoint,
    Failed,
    Instance,
    Pending,
    Sighting,
)
from meshcore.interface import ComponentDescription, Method, Parameter, ServiceDescription
from meshcore.mesh import Mesh
from meshcore.openapi import openapi
from meshcore.policy import Policy
from meshcore.ports import Channel, ChannelOptions, ComponentRegistry, ValueSource
from meshcore.proxies import Interceptors
from meshcore.proxy import with_policy
from meshcore.serving import MeshApp
from meshcore.settings import Settings, load_settings
from meshcore.value import Value

__all__ = [
    "Absent",
    "AbstractComponent",
    "Attempt",
    "AuthorizationError",
    "BlockingMesh",
    "Body",
    "Bound",
    "Call",
    "Channel",
    "ChannelAddress",
    "ChannelOptions",
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
    "Query",
    "QueryParam",
    "RandomURLSelector",
    "RemoteError",
    "RoundRobinURLSelector",
    "Service",
    "ServiceDescription",
    "Settings",
    "Sighting",
    "URLSelector",
    "Value",
    "ValueSource",
    "advice",
    "affinity",
    "around",
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
    "patch",
    "post",
    "provide",
    "put",
    "raises",
    "rest",
    "service",
    "shielded",
    "with_policy",
]
