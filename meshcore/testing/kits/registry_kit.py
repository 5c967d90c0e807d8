"""The conformance kit for registries.

An author of a registry writes one test::

    async def test_conforms(tmp_path: Path) -> None:
        await check_registry(lambda: MyComponentRegistry(tmp_path))

and reads in the `AssertionError` which clause of the contract is broken, what was expected and what was seen. The
clauses are the functions of `meshcore.testing.kits.registry_clauses`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from meshcore.core.instances import Bound, Instance
from meshcore.testing.kits.registry_clauses import CLAUSES, other_task, unknown
from meshcore.testing.kits.registry_stage import Stage, equal, new_instance
from meshcore.testing.watcher import watching

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from meshcore.ports.registry import ComponentRegistry

    Clause: TypeAlias = Callable[[Stage], Awaitable[None]]


async def check_registry(make: Callable[[], ComponentRegistry], *, seconds: float = 1.0) -> None:
    """Check a registry to which instances can be announced.

    Args:
        make: gives a registry that is not entered. All that it gives share one backing store, so that one announces
            and another watches; a registry that shares nothing beyond its object gives the same object each time.
            What the store holds of other components does not matter.
        seconds: within which a change must have reached every watcher, and for which silence is listened to.

    Raises:
        AssertionError: a clause of the contract is broken; the text says which.
    """
    for clause in CLAUSES:
        await _hold_inside(clause, make, seconds)
    _raise(await _problem(other_task, Stage(make(), make(), seconds)))


async def check_fixed_registry(
    make: Callable[[], ComponentRegistry], expected: Mapping[str, tuple[Instance, ...]], *, seconds: float = 1.0
) -> None:
    """Check a registry that always reports the same instances.

    Args:
        make: gives a registry that is not entered.
        expected: all that it must report, by component, each component's instances ordered by id.
        seconds: within which it must report, and for which silence is listened to.

    Raises:
        AssertionError: a clause of the contract is broken; the text says which.
    """

    async def fixed(stage: Stage) -> None:
        """What is fixed is reported, and an announcement changes nothing."""
        equal(await stage.watcher.instances(), expected, "`instances`")
        for component, instances in expected.items():
            async with watching(stage.watcher, component, seconds=seconds) as watcher:
                await watcher.until(Bound(instances))
                async with stage.announcer.announce(new_instance(component)):
                    await watcher.stays_silent()

    await _hold_inside(fixed, make, seconds)
    await _hold_inside(unknown, make, seconds)


async def _hold_inside(clause: Clause, make: Callable[[], ComponentRegistry], seconds: float) -> None:
    async with make() as announcer, make() as watcher:
        problem = await _problem(clause, Stage(announcer, watcher, seconds))
    # Outside, as a registry's own task group would wrap what is raised inside.
    _raise(problem)


async def _problem(clause: Clause, stage: Stage) -> AssertionError | None:
    try:
        await clause(stage)
    except Exception as error:  # noqa: BLE001 - what a registry raises breaks the clause as well
        text = str(error) if isinstance(error, AssertionError) else repr(error)
        problem = AssertionError(f"{type(stage.watcher).__name__} breaks the contract. {clause.__doc__} But {text}")
        problem.__cause__ = error
        return problem
    return None


def _raise(problem: AssertionError | None) -> None:
    if problem:
        raise problem
