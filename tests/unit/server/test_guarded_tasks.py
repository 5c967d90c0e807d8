"""`sys.exit()` in a task does not end the loop."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest

from meshcore.core.errors import ImplementationError
from meshcore.server.guarded_tasks import guard_tasks, tasks_guarded


async def leave() -> None:
    """End the process."""
    sys.exit(2)


async def answer() -> int:
    """Wait for a turn of the loop, then answer."""
    await asyncio.sleep(0)
    return 42


async def test_it_is_the_error_of_its_task(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever awaits the task gets it, and the log has it, even if nobody awaits it."""
    with tasks_guarded():
        guard_tasks()
        found = await asyncio.gather(leave(), answer(), return_exceptions=True)
    assert isinstance(found[0], ImplementationError)
    assert isinstance(found[0].__cause__, SystemExit)
    assert found[1] == 42
    assert "SystemExit was raised in the task of leave; the process goes on" in caplog.text


async def test_a_group_is_cancelled_by_it() -> None:
    """As by any other error of one of its tasks."""
    with tasks_guarded():
        guard_tasks()
        tasks: list[asyncio.Task[None]] = []

        async def run() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(leave())
                tasks.append(group.create_task(asyncio.sleep(10)))

        with pytest.raises(ExceptionGroup):
            await run()
    assert tasks[0].cancelled()


async def test_a_task_that_is_cancelled_before_its_first_step() -> None:
    """Its coroutine is ended, so that nothing warns of one that was never awaited."""
    with tasks_guarded():
        guard_tasks()
        task = asyncio.create_task(answer())
        assert "answer" in repr(task)
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def test_the_factory_of_the_loop_is_kept() -> None:
    """It makes the tasks meanwhile, and is back afterwards. Tasks of nobody's mesh are left as they are."""
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(type(coroutine).__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(make)
    try:
        with tasks_guarded():
            await asyncio.create_task(answer())
            context = contextvars.copy_context()
            context.run(guard_tasks)
            assert await context.run(loop.create_task, answer()) == 42
        assert loop.get_task_factory() is make
        assert made == ["coroutine", "_Guarded"]
    finally:
        loop.set_task_factory(None)
