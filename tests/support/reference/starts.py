"""Mistakes that keep a mesh from starting, beyond those of tests/unit/test_problems.py, with what each is told."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Start(NamedTuple):
    """A module that cannot start.

    Attributes:
        source: of the Python module, below the declarations of a greeting; its last class is the module `M`.
        text: of its only problem.
        settings: that it is started with.
    """

    source: str
    text: str
    settings: Mapping[str, object] = MappingProxyType({})


MODULE = "\n@module()\nclass M: ...\n"


def stock(head: str = "", decorator: str = "", signature: str = "customer: str", result: str = "None") -> str:
    """A component whose only method has a mistake."""
    return f"""
{head}
@service()
class Stock(Service):
    {decorator}
    @abstractmethod
    async def reserve(self, {signature}) -> {result}: ...

@component(services=[Stock])
class StockComponent(Component): ...

@implementation()
class StockImpl(Stock):
    async def reserve(self, *arguments): ...

@implementation()
class StockComponentImpl(AbstractComponent, StockComponent): ...
{MODULE}"""


def injected(source: str) -> str:
    """Classes of which one cannot be made."""
    return source + MODULE


STORE = "@injectable()\nclass Store:\n"
ADVICE = "@advice\nclass Timing:\n    @around(methods().named('look'))\n"

STARTS: Final = [
    # --- Interfaces ---------------------------------------------------------------------------------------------------
    Start(
        stock(decorator='@affinity("custmer")'),
        "Stock.reserve: @affinity: no parameter 'custmer'; did you mean 'customer'?",
    ),
    Start(
        stock(decorator="@idempotency_key(seconds=0)"),
        "Stock.reserve: @idempotency_key(seconds=0): must be a number of seconds above 0",
    ),
    Start(
        stock(decorator="@Policy(concurrency=5)"),
        "Stock.reserve: policy: concurrency: shared by all calls to a component, so set it there",
    ),
    Start(
        stock(decorator='@get("/stock")', signature="customers: list[Annotated[str, Query()]]"),
        (
            "Stock.reserve(customers): a query mark inside of its type has no effect; mark the whole type: "
            "QueryParam[...]"
        ),
    ),
    Start(
        stock(decorator='@post("/stock", status=404)'),
        "Stock.reserve: status=404 is no success status (200 to 299)",
    ),
    Start(
        stock(decorator='@post("/stock", status=204)', result="str"),
        "Stock.reserve: an answer with status 204 has no body, so the method must return None",
    ),
    Start(
        stock(decorator='@get("/stock")', signature='customer: Annotated[str, Header(alias="x customer")]'),
        "Stock.reserve(customer): 'x customer' is no name of a header",
    ),
    Start(
        stock(decorator='@get("/stock")', signature='customer: Annotated[str, Header(alias="mesh-attempt")]'),
        "Stock.reserve(customer): header 'mesh-attempt' belongs to the mesh",
    ),
    Start(
        stock(decorator='@get("/stock")', signature='customer: Annotated[str, Query(alias="who")], who: str'),
        "Stock.reserve: two of its parameters are the query parameter 'who'",
    ),
    Start(
        stock(
            "import pydantic\nclass User(pydantic.BaseModel):\n    name: str = pydantic.Field(exclude=True)\n",
            signature="user: User",
        ),
        (
            "Stock.reserve(user): User.name is required, but excluded from what is written; give it a default, or do "
            "not exclude it"
        ),
    ),
    Start(
        stock(
            "import pydantic\nclass User(pydantic.BaseModel):\n    pin: pydantic.SecretStr\n",
            signature="user: User",
        ),
        (
            "Stock.reserve(user): User.pin is a secret, written as '**********'; give it a @field_serializer, or "
            "another type"
        ),
    ),
    Start(
        stock(
            "from dataclasses import dataclass\nfrom typing import Union\n"
            'Tree = Union[list["Tree"], str]\n@dataclass\nclass Wood:\n    tree: Tree\n',
            signature="wood: Wood",
        ),
        (
            "Stock.reserve(wood): $.tree: Tree is a recursive alias, which cannot be in a field: write it as a class "
            "that contains itself"
        ),
    ),
    Start(
        stock(
            "import pydantic\nclass User(pydantic.BaseModel):\n    seen: list[str] | set[str]\n",
            signature="user: User",
        ),
        "Stock.reserve(user): User.seen is read back as another value: set() as []",
    ),
    Start(
        stock(
            "import pydantic\nclass User(pydantic.BaseModel):\n    rows: pydantic.Json[list[int]]\n",
            signature="user: User",
        ),
        (
            "Stock.reserve(user): User.rows cannot be read as it is written, for example []: JSON input should be "
            "string, bytes or bytearray"
        ),
    ),
    Start(
        stock(
            "import pydantic\nclass User(pydantic.BaseModel):\n"
            "    seen: int = pydantic.Field(exclude_if=lambda seen: seen == 0)\n",
            signature="user: User",
        ),
        (
            "Stock.reserve(user): User.seen is required, but may be left out of what is written (exclude_if); give it "
            "a default"
        ),
    ),
    Start(
        stock(
            "import pydantic\nclass Both(pydantic.BaseModel):\n    parts: 'list[Both | Either]'\n"
            "class Either(pydantic.BaseModel):\n    parts: list[Both]\nBoth.model_rebuild()\n",
            signature="user: Both",
        ),
        (
            "Stock.reserve(user): Both.parts is a union that two of its members contain, which takes too long to read: "
            'give it a discriminator, such as Field(discriminator="kind")'
        ),
    ),
    Start(
        stock(
            "from dataclasses import dataclass\n@dataclass\nclass User:\n    age: int\n"
            "    def __post_init__(self) -> None:\n        self.age += 1\n",
            signature="user: User",
        ),
        "Stock.reserve(user): User.age is read back as another value: 4 as 5",
    ),
    Start(
        stock("import attrs\n@attrs.define\nclass User:\n    _pin: int = 0\n", signature="user: User"),
        ("Stock.reserve(user): User._pin is private: msgspec does not write private fields of attrs, so rename it"),
    ),
    Start(
        stock("import pydantic\n", signature="count: pydantic.PositiveInt"),
        "Stock.reserve(count): annotated_types.Gt would not be enforced here; write msgspec.Meta(gt=0)",
    ),
    Start(
        stock(
            "import msgspec, pydantic\nclass User(pydantic.BaseModel):\n    age: Annotated[int, msgspec.Meta(ge=0)]\n",
            signature="user: User",
        ),
        "Stock.reserve(user): $.age: msgspec.Meta has no effect in a pydantic model; write pydantic.Field(ge=0)",
    ),
    Start(
        stock(
            "from dataclasses import dataclass\n@dataclass\nclass Cat:\n    lives: int\n"
            "@dataclass\nclass Dog:\n    age: int\n",
            signature="pet: Cat | Dog",
        ),
        (
            "Stock.reserve(pet): type unions may not contain more than one dataclass or attrs type - type Cat | Dog is "
            "not supported"
        ),
    ),
    # --- The injector -------------------------------------------------------------------------------------------------
    Start(
        injected(
            "class Database: ...\n@injectable()\nclass Databases: ...\n"
            + STORE
            + "    def __init__(self, database: Database) -> None: ...\n"
        ),
        (
            "Store(database): nothing provides Database; add @injectable to it, or a @create method to a module; did "
            "you mean Databases?"
        ),
    ),
    Start(
        injected(STORE + "    def __init__(self, currency: str) -> None: ...\n"),
        'Store(currency): nothing provides str; for a setting write Annotated[str, inject_value("...")]',
    ),
    Start(
        injected(
            "class Clock: ...\n@injectable()\nclass Fast(Clock): ...\n@injectable()\nclass Slow(Clock): ...\n"
            + STORE
            + "    def __init__(self, clock: Clock) -> None: ...\n"
        ),
        "Store(clock): several provide Clock, and none is exactly that: Fast, Slow",
    ),
    Start(
        injected(
            "class Clock: ...\n"
            + STORE
            + "    @inject_service('rest')\n    def set_clock(self, clock: Clock) -> None: ...\n"
        ),
        "Store.set_clock(clock): Clock is no service",
    ),
    Start(
        injected(
            STORE + "    def __init__(self, currency: Annotated[str, inject_value('orders.currency')]) -> None: ...\n"
        ),
        "Store(currency): no setting gives 'orders.currency'; set it, or give inject_value a default",
    ),
    Start(
        injected(STORE + "    def __init__(self, limit: Annotated[int, inject_value('orders.limit')]) -> None: ...\n"),
        "Store(limit): the setting 'orders.limit' does not fit: Expected `int`, got `str`",
        {"values": {"orders.limit": "many"}},
    ),
    Start(
        injected("@injectable(scope='request')\n@injectable()\nclass Store: ...\n"),
        "Store: its decorators name several scopes: request, singleton",
    ),
    Start(
        injected("@injectable(scope='requst')\nclass Store: ...\n"),
        "Store: there is no scope 'requst'; did you mean 'request'?",
    ),
    Start(
        injected(
            "from typing import Protocol\n@injectable()\nclass Clock(Protocol):\n    def now(self) -> float: ...\n"
        ),
        "Clock: is a protocol, which has no instances; inject a class that implements it",
    ),
    Start(
        injected(STORE + "    @on_init\n    def prepare(self, count: int) -> None: ...\n"),
        "Store.prepare: is called without arguments, it cannot take any",
    ),
    Start(
        injected(STORE + "    @inject_value('orders.currency')\n    def set_currency(self) -> None: ...\n"),
        "Store.set_currency: has to take exactly one parameter, the one to inject",
    ),
    Start(
        injected(STORE + "    @on_init\n    @staticmethod\n    def prepare() -> None: ...\n"),
        "Store.prepare: only a plain method can have this decorator",
    ),
    Start(
        injected(STORE + "    def __init__(self, clock) -> None: ...\n"),
        "Store(clock): has neither an annotation nor a default",
    ),
    Start(
        injected(STORE + "    def __init__(self, clock: Clock) -> None: ...\n"),
        (
            "Store: the annotations of Store.__init__ cannot be evaluated: name 'Clock' is not defined; import it "
            "outside of TYPE_CHECKING"
        ),
    ),
    Start(
        "\n@module()\nclass M:\n    @create()\n    def database(self): ...\n",
        "M.database: needs a type as its return annotation, which says what it provides; None is not provided",
    ),
    # --- Modules, advice, health --------------------------------------------------------------------------------------
    Start(
        "\nclass Other: ...\n@module(imports=[Other])\nclass M: ...\n",
        "Other: is used as a module, but is not decorated with @module",
    ),
    Start("\nclass Bare: ...\n@module(components=[Bare])\nclass M: ...\n", "Bare is not decorated with @component"),
    Start(
        injected(ADVICE + "    def look(self) -> None: ...\n"),
        "Timing.look: has to take exactly one parameter, the Invocation",
    ),
    Start(
        injected(
            STORE + "    @around(methods().named('look'))\n    def look(self, invocation: Invocation) -> object: ...\n"
        ),
        "Store: has methods with @around, but is not decorated with @advice",
    ),
    Start(
        injected(
            STORE
            + "    def look(self) -> None: ...\n"
            + ADVICE
            + "    async def timed(self, invocation: Invocation) -> object: ...\n"
        ),
        "Store.look: the advice Timing.timed is async, but the method is not; make the advice a plain method",
    ),
    Start(
        injected(
            STORE
            + "    __slots__ = ()\n    def look(self) -> None: ...\n"
            + ADVICE
            + "    def timed(self, invocation: Invocation) -> object: ...\n"
        ),
        "Store: cannot be advised (look): it has __slots__; add '__dict__' to them or remove them",
    ),
    Start(
        injected("@health_checks()\nclass Checks:\n    @health_check()\n    def disk(self) -> None: ...\n"),
        "Checks.disk: a health check takes exactly one parameter, a HealthCheckManager.Result",
    ),
    Start(
        injected(
            "@health_checks()\nclass Checks:\n    @health_check(cache=-1)\n"
            "    def disk(self, result: HealthCheckManager.Result) -> None: ...\n"
        ),
        "Checks.disk: cache and fail_if_slower_than are seconds, they cannot be negative",
    ),
]

OF_SETTINGS: Final = [
    Start(
        MODULE,
        "setting preferred_channel: no channel 'dispatch-msgpak'; did you mean 'dispatch-msgpack'?",
        {"preferred_channel": "dispatch-msgpak"},
    ),
    Start(
        MODULE,
        "setting registry: no registry 'consull' for 'consull:'; did you mean 'consul'?",
        {"registry": "consull:"},
    ),
    Start(
        MODULE, "setting registry: local: takes nothing after the colon, got 'local:here'", {"registry": "local:here"}
    ),
    Start(
        MODULE,
        "setting registry: static: at character 14: expected '=' after the component's name; found the end",
        {"registry": "static:orders"},
    ),
    Start(
        MODULE,
        "setting registry: consul has no option 'tokn'; did you mean 'token'?",
        {"registry": "consul://127.0.0.1:8500?tokn=x"},
    ),
    Start(
        MODULE,
        "setting value_source: no value source 'consull' for 'consull:'; did you mean 'consul'?",
        {"value_source": "consull:"},
    ),
    Start(
        MODULE,
        "setting policies: no method 'greeting.helo'; did you mean 'greeting.hello'?",
        {"policies": {"greeting.helo": {"timeout": 1.0}}},
    ),
    Start(
        MODULE,
        "setting policies.greeting: concurrency: shared by all calls to a component, so set it there",
        {"policies": {"greeting": {"concurrency": 5}}},
    ),
]
