"""The smallest mesh: an interface, the component that offers it, and what implements both."""

from abc import abstractmethod

from meshcore import AbstractComponent, Component, Service, component, implementation, module, service


@service()
class Greeting(Service):
    @abstractmethod
    async def hello(self, message: str) -> str: ...


@component(services=[Greeting])
class GreetingComponent(Component): ...


@implementation()
class GreetingImpl(Greeting):
    async def hello(self, message: str) -> str:
        return f"hello {message}"


@implementation()
class GreetingComponentImpl(AbstractComponent, GreetingComponent): ...


@module()
class GreetingModule: ...
