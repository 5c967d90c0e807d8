"""What type checkers infer. Checked by test_typing, never run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Annotated, Any, Generic, Protocol, TypeVar, assert_type

from meshcore import (
    AbstractComponent,
    BlockingMesh,
    Body,
    Call,
    Channel,
    Component,
    ComponentRegistry,
    Content,
    Endpoint,
    Handler,
    HealthCheckManager,
    Interceptor,
    Interceptors,
    Invocation,
    Mesh,
    Path,
    PathParam,
    Query,
    QueryParam,
    SendItem,
    Service,
    StreamHandler,
    StreamInterceptor,
    advice,
    around,
    awaitable,
    blocking,
    channel,
    component,
    compose,
    create,
    get,
    health,
    health_check,
    health_checks,
    idempotency_key,
    idempotent,
    implementation,
    in_thread,
    inject_service,
    inject_value,
    injectable,
    methods,
    module,
    on_destroy,
    on_init,
    post,
    raises,
    rest,
    service,
)
from meshcore.testing import Faults, MemoryMesh, MeshFactory

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Order:
    """Data."""


class Clock(ABC):
    """What a module makes."""

    @abstractmethod
    def now(self) -> float: ...


class Reader(Protocol[T_co]):
    """The same as a protocol."""

    def read(self) -> T_co: ...


@service(name="greeting", description="says hello")
@rest("/api")
class Greeting(Service):
    @get("/hello/{message}", summary="Say hello", tags=["greeting"])
    @raises(ValueError, KeyError)
    @abstractmethod
    async def hello(self, message: PathParam[str], limit: QueryParam[int] = 10) -> str: ...

    @post("/orders")
    @idempotent
    @abstractmethod
    def order(
        self,
        order: Body[Order],
        sort: Annotated[str, Query("how", example="id")] = "",
        at: Annotated[int, Path()] = 0,
        more: Annotated[bytes, Content()] = b"",
    ) -> Order: ...


@service()
class Asking(Service, Protocol):
    async def ask(self, text: str) -> int: ...


@service()
class Plain(Protocol):
    def ask(self, text: str) -> int: ...


class Repo(Service, Generic[T]):
    @abstractmethod
    async def load(self, key: str) -> T: ...


@service()
class OrderRepo(Repo[Order]): ...


@component(name="greeting", services=[Greeting, Asking, Plain, OrderRepo])
class GreetingComponent(Component): ...


@implementation(scope="request")
class GreetingImpl(Greeting):
    async def hello(self, message: str, limit: int = 10) -> str:
        assert_type(limit, int)
        return message

    def order(self, order: Order, sort: str = "", at: int = 0, more: bytes = b"") -> Order:
        return order


@implementation()
@health("/health")
class GreetingComponentImpl(AbstractComponent, GreetingComponent): ...


@injectable()
class Store:
    def __init__(self, greeting: Greeting, fast: Annotated[Plain, inject_service("dispatch-msgpack")]) -> None:
        self.greeting = greeting
        self.fast = fast

    @inject_value("store.limit", default=3)
    def set_limit(self, limit: int) -> None: ...

    @on_init
    def begin(self) -> None: ...

    @on_destroy()
    async def end(self) -> None: ...


@health_checks()
class Checks:
    @health_check(name="disk")
    def disk(self, result: HealthCheckManager.Result) -> None: ...


@advice
class Advice:
    @around(methods().named("customize").of_type(Channel))
    def customize(self, invocation: Invocation) -> object:
        return invocation.proceed()


@channel("fancy")
class Fancy(Channel):
    async def invoke(self, call: Call, endpoint: Endpoint) -> Any: ...


async def interceptor(handler: Handler, call: Call) -> Any:
    """One of the user's."""
    return await handler(call)


@module(components=[GreetingComponent])
class GreetingModule:
    @create()
    def interceptors(self) -> Interceptors:
        return Interceptors(client=[interceptor])


async def asynchronous() -> None:
    """Proxies are what their interface says, ABC or protocol."""
    async with Mesh(GreetingModule, overrides={Greeting: GreetingImpl()}) as mesh:
        assert_type(mesh, Mesh)
        greeting = await mesh.get_service(Greeting)
        assert_type(greeting, Greeting)
        assert_type(await greeting.hello("a"), str)
        assert_type(await greeting.hello("a", limit=3), str)
        assert_type(greeting.order(Order()), Order)
        assert_type(await mesh.get_service(Greeting, preferred_channel="rest"), Greeting)
        asking = await mesh.get_service(Asking)
        assert_type(asking, Asking)
        assert_type(await asking.ask("a"), int)
        assert_type(await mesh.get_service(Plain), Plain)
        repo = await mesh.get_service(OrderRepo)
        assert_type(await repo.load("a"), Order)
        assert_type(await mesh.get(Store), Store)
        assert_type(await mesh.get(Clock), Clock)
        assert_type(await mesh.get(ComponentRegistry), ComponentRegistry)
        assert_type(await mesh.get(Reader[int]), Reader[int])
        assert_type(await awaitable(greeting.order)(Order(), sort="id"), Order)
        assert_type(await awaitable(greeting.hello)("a", limit=3), str)
        ask: Callable[[str], Coroutine[Any, Any, int]] = awaitable((await mesh.get_service(Plain)).ask)
        del ask
        await mesh.wait_for(Greeting, 3)
        await mesh.wait_for(Plain)


def synchronous() -> None:
    """The same behind the other door."""
    with BlockingMesh(GreetingModule) as mesh:
        assert_type(mesh, BlockingMesh)
        assert_type(mesh.get_service(Greeting), Greeting)
        assert_type(mesh.get_service(Greeting, "rest").order(Order()), Order)
        assert_type(mesh.get_service(Asking), Asking)
        assert_type(mesh.get_service(Plain).ask("a"), int)
        assert_type(mesh.get(Store), Store)
        assert_type(mesh.get(ComponentRegistry), ComponentRegistry)
        mesh.wait_for(Plain, 1)
        greeting = mesh.get_service(Greeting)
        assert_type(mesh.run(greeting.hello("a")), str)
        assert_type(blocking(greeting.hello)("a", limit=3), str)
        assert_type(blocking(greeting.order)(Order()), Order)
        ask: Callable[[str], int] = blocking(mesh.get_service(Asking).ask)
        del ask


async def in_a_test(mesh_factory: MeshFactory, mesh_faults: Faults) -> None:
    """The fixtures of the pytest plugin, annotated."""
    async with mesh_factory(GreetingModule, overrides={Clock: object()}, instances=2, faults=mesh_faults) as mesh:
        assert_type(mesh, MemoryMesh)
        assert_type(await mesh.get(Clock), Clock)
        assert_type(await mesh.get(ComponentRegistry, instance=1), ComponentRegistry)
        assert_type(await mesh.get_service(Greeting), Greeting)


@service
@rest
class Bare(Service):
    """Decorators without parentheses."""

    @idempotent()
    @abstractmethod
    async def ask(self) -> int: ...

    @idempotency_key
    @abstractmethod
    async def pay(self) -> int: ...


@component(services=[Bare])
class BareComponent(Component): ...


@implementation
class BareImpl(Bare):
    async def ask(self) -> int:
        return 1

    async def pay(self) -> int:
        return 2


@implementation
class BareComponentImpl(AbstractComponent, BareComponent): ...


@injectable
class Counter:
    @inject_service
    def set_bare(self, bare: Bare) -> None: ...


@health_checks
class BareChecks:
    @health_check
    def disk(self, result: HealthCheckManager.Result) -> None: ...


@module
class BareModule:
    @create
    def clock(self) -> Order:
        return Order()


async def bare() -> None:
    """They give back the very class or function, too."""
    assert_type(await BareImpl().ask(), int)
    assert_type(await BareImpl().pay(), int)
    assert_type(BareModule().clock(), Order)
    assert_type(Counter(), Counter)
    made: type[BareComponentImpl] = BareComponentImpl
    disk: Callable[[BareChecks, HealthCheckManager.Result], None] = BareChecks.disk
    del made, disk


@implementation()
class InThread(Bare):
    @in_thread
    def ask(self) -> int:
        return 1

    @in_thread()
    def pay(self) -> int:
        return 2

    async def both(self) -> int:
        return await self.ask() + await self.pay()


@service()
class Streams(Service):
    @abstractmethod
    def watch(self, name: str) -> AsyncIterator[Order]: ...

    @abstractmethod
    async def load(self, orders: AsyncIterator[Order]) -> int: ...

    @abstractmethod
    def both(self, orders: AsyncIterator[Order]) -> AsyncGenerator[int, None]: ...

    @abstractmethod
    def blocking(self, orders: Iterator[Order]) -> Iterator[int]: ...


@implementation()
class StreamsImpl(Streams):
    async def watch(self, name: str) -> AsyncIterator[Order]:
        yield Order()

    async def load(self, orders: AsyncIterator[Order]) -> int:
        return len([order async for order in orders])

    async def both(self, orders: AsyncIterator[Order]) -> AsyncGenerator[int, None]:
        async for _ in orders:
            yield 1

    def blocking(self, orders: Iterator[Order]) -> Iterator[int]:
        for _ in orders:
            yield 1


async def streamed(mesh: Mesh) -> None:
    """Streams of a proxy."""
    streams = await mesh.get_service(Streams)
    async for order in streams.watch("a"):
        assert_type(order, Order)
    assert_type(await streams.load(streams.watch("a")), int)
    both = streams.both(streams.watch("a"))
    assert_type(await anext(both), int)
    await both.aclose()
    assert_type(list(blocking(streams.watch)("a")), list[Order])
    assert_type(blocking(streams.load)(streams.watch("a")), int)
    async for number in awaitable(streams.blocking)(iter([Order()])):
        assert_type(number, int)


async def stream_interceptor(handler: StreamHandler, call: Call, send: SendItem) -> Any:
    """Sees each item."""

    async def send_twice(item: Any) -> None:
        await send(item)
        await send(item)

    return await handler(call, send_twice)


def streaming() -> Interceptors:
    """Those of streams beside the others."""
    one: StreamInterceptor = stream_interceptor
    return Interceptors(server=[interceptor], client_streams=[one], server_streams=[stream_interceptor])


def decorated() -> None:
    """Decorators give back the very class or function."""
    assert_type(GreetingImpl(), GreetingImpl)
    assert_type(GreetingModule(), GreetingModule)
    begin: Callable[[Store], None] = Store.begin
    assert_type(Checks(), Checks)
    made: type[GreetingComponentImpl] = GreetingComponentImpl
    composed: Handler = compose(interceptor_of(), interceptor)
    one: Interceptor = interceptor
    result: Awaitable[Any] = composed(Call(method=NotImplemented))
    text: Coroutine[Any, Any, str] = GreetingImpl().hello("a")
    del made, one, result, begin, text


def interceptor_of() -> Handler:
    """A handler."""

    async def handler(call: Call) -> Any:
        return call.arguments

    return handler
