"""All that the tests of the commands call, in one server."""

from __future__ import annotations

from examples.greeting import GreetingModule
from examples.orders import OrdersModule
from meshcore import module
from tests.support.probe import ProbeModule


@module(imports=[GreetingModule, OrdersModule, ProbeModule])
class Everything: ...
