"""Calls the greeting within this process: `python -m meshcore.examples.greeting`."""

import asyncio

from meshcore import Mesh

from . import Greeting, GreetingModule


async def main() -> None:
    """Say hello once."""
    async with Mesh(GreetingModule) as mesh:
        greeting = await mesh.get_service(Greeting)
        print(await greeting.hello("world"))


if __name__ == "__main__":
    asyncio.run(main())
