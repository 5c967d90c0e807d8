"""The conformance kit for registries.

The author of a registry writes one test::

    async def test_conforms(tmp_path: Path) -> None:
        await check_registry(lambda: MyComponentRegistry(tmp_path))

The `AssertionError` names the clause of the contract that is broken, and what was expected and found. The clauses are
the functions of `meshcore.testing.kits.registry_clauses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from meshcore.core.instances import Bound, Instance
from meshcore.testing.kits.registry_clauses import CLAUSES, other_task, unknown
from meshcore.testing.kits.registry_setup import Setup, equal, new_instance
from meshcore.testing.kits.violation import violation
from meshcore.testing.watcher import watching

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from meshcore.ports.registry import ComponentRegistry

    Clause: TypeAlias = Callable[[Setup], Awaitable[None]]


async def check_registry(make: Callable[[], ComponentRegistry], *, seconds: float = 1.0) -> None:
    """Check a registry to which instances can be announced.

    Args:
        make: makes a registry that is not entered. All of them share one store, so that one announces and another
            watches. If the store is the object itself, `make` returns the same object each time. The store may contain
            other components.
        seconds: the time in which a change must reach every watch, and for which the kit waits where none may come.

    Raises:
        AssertionError: a clause of the contract is broken.
    """
    for clause in CLAUSES:
        await _hold_inside(clause, make, seconds)
    _raise(await _problem(other_task, Setup(make(), make(), seconds)))


async def check_fixed_registry(
    make: Callable[[], ComponentRegistry], expected: Mapping[str, tuple[Instance, ...]], *, seconds: float = 1.0
) -> None:
    """Check a registry that always reports the same instances.

    Args:
        make: makes a registry that is not entered.
        expected: all instances by component, ordered by id.
        seconds: the time in which it must report them, and for which the kit waits where no sighting may come.

    Raises:
        AssertionError: a clause of the contract is broken.
    """

    async def fixed(setup: Setup) -> None:
        """What is fixed is reported, and an announcement changes nothing."""
        equal(await setup.watcher.instances(), expected, "`instances`")
        for component, instances in expected.items():
            async with watching(setup.watcher, component, seconds=seconds) as watcher:
                await watcher.until(Bound(instances))
                async with setup.announcer.announce(new_instance(component)):
                    await watcher.stays_silent()

    await _hold_inside(fixed, make, seconds)
    await _hold_inside(unknown, make, seconds)


async def _hold_inside(clause: Clause, make: Callable[[], ComponentRegistry], seconds: float) -> None:
    async with make() as announcer, make() as watcher:
        problem = await _problem(clause, Setup(announcer, watcher, seconds))
    # Outside of the contexts: a task group of the registry would wrap the error.
    _raise(problem)


async def _problem(clause: Clause, setup: Setup) -> AssertionError | None:
    try:
        await clause(setup)
    except Exception as error:  # noqa: BLE001 - what a registry raises breaks the clause as well
        return violation(type(setup.watcher).__name__, clause, error)
    return None


def _raise(problem: AssertionError | None) -> None:
    if problem:
        raise problem
