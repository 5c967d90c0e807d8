"""Every registry passes the kit; the directory registry also holds between real processes that come, go and die."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import resource
import signal
import stat
import sys
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from meshcore.core.errors import Code, CommunicationError, LocalError
from meshcore.core.instances import Absent, Bound, ChannelAddress, Failed, Instance
from meshcore.registry import DirectoryComponentRegistry, LocalComponentRegistry, StaticComponentRegistry
from meshcore.registry.directory.lockfile import LockFile
from meshcore.testing import check_fixed_registry, check_registry, watching

ROOT = Path(__file__).parents[3]

# Announces an instance for each line that it reads, until the next line. Prints the moment before each change: the
# monotonic clock is one for all processes. With "fork" it leaves a child behind that inherits all it has.
ANNOUNCER = """
import asyncio, os, signal, sys, time
from meshcore.core.instances import ChannelAddress, Instance
from meshcore.registry import DirectoryComponentRegistry

async def main(path, name, *options):
    instance = Instance(name, "orders", (ChannelAddress("rest", "http://127.0.0.1:8000"),))
    async with DirectoryComponentRegistry(path) as registry:
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(time.monotonic(), flush=True)
            async with registry.announce(instance):
                if "fork" in options:
                    child = os.fork()
                    if not child:
                        signal.pause()
                    print(child, flush=True)
                if not await asyncio.to_thread(sys.stdin.readline):
                    return
                begun = time.monotonic()
            print(begun, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def instance_of(name: str, component: str = "orders") -> Instance:
    """What the announcers announce."""
    return Instance(name, component, (ChannelAddress("rest", "http://127.0.0.1:8000"),))


class Announcer:
    """A process that announces an instance when told so."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self.process = process
        self.instance = instance_of(name)

    async def toggle(self) -> float:
        """Make it announce, or withdraw; returns the moment just before."""
        self.process.stdin.write(b"\n")
        return float(await self.read())

    async def read(self) -> str:
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode().strip()

    def kill(self) -> float:
        """Kill it without a chance to clean up; returns the moment just before."""
        begun = time.monotonic()
        self.process.kill()
        return begun


@asynccontextmanager
async def announcer(folder: Path, name: str = "one", *options: str):
    """A running process; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ANNOUNCER, str(folder), name, *options),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        started = Announcer(process, name)
        assert await started.read() == "ready"
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def files_in(folder: Path) -> list[str]:
    """The names, sorted."""
    return sorted(path.name for path in folder.iterdir())


async def seen_of(registry, component: str = "orders"):
    """The first sighting."""
    sightings = registry.watch(component)
    try:
        return await asyncio.wait_for(anext(sightings), 5)
    finally:
        await sightings.aclose()


async def test_the_local_registry_conforms():
    """The registry of one process passes the kit."""
    registry = LocalComponentRegistry()
    await check_registry(lambda: registry, seconds=1.0)


async def test_the_directory_registry_conforms(tmp_path):
    """The directory registry passes the kit with two objects on one folder."""
    await check_registry(lambda: DirectoryComponentRegistry(tmp_path / "new" / "folder"), seconds=5.0)
    assert files_in(tmp_path / "new" / "folder") == []


async def test_one_object_of_the_directory_registry_conforms(tmp_path):
    """The directory registry passes the kit when announcer and watcher share one object."""
    registry = DirectoryComponentRegistry(tmp_path)
    await check_registry(lambda: registry, seconds=5.0)


async def test_the_static_registry_conforms():
    """The registry of fixed addresses passes the kit for such."""
    url = "static:orders=rest(http://h2:8000),rest(http://h1:8000);stock=dispatch-json(http://h1:8000)"
    expected = {
        "orders": tuple(
            Instance(f"{host}:8000", "orders", (ChannelAddress("rest", f"http://{host}:8000"),))
            for host in ("h1", "h2")
        ),
        "stock": (Instance("h1:8000", "stock", (ChannelAddress("dispatch-json", "http://h1:8000"),)),),
    }
    await check_fixed_registry(lambda: StaticComponentRegistry.from_url(url), expected, seconds=1.0)


async def test_the_kit_names_the_clause_that_is_broken():
    """A registry that breaks the contract fails the kit with the clause, what was expected and what was seen."""

    class Forgetful(LocalComponentRegistry):
        @asynccontextmanager
        async def announce(self, instance):
            yield

    registry = Forgetful()
    with pytest.raises(AssertionError, match=r"Forgetful breaks the contract\. An instance is reported exactly.* But "):
        await check_registry(lambda: registry, seconds=0.05)
    with pytest.raises(AssertionError, match=r"What is fixed is reported.* But `instances`: expected .*, got \{\}"):
        await check_fixed_registry(lambda: registry, {"orders": (instance_of("one"),)}, seconds=0.05)


@pytest.mark.parametrize("kind", ["local", "directory"])
async def test_meshes_on_other_threads_share_one_object(tmp_path, kind):
    """One registry object serves watchers and announcers on event loops of other threads."""
    registry = LocalComponentRegistry() if kind == "local" else DirectoryComponentRegistry(tmp_path)
    stop = threading.Event()

    async def elsewhere() -> None:
        async with registry, registry.announce(instance_of("two")):
            assert isinstance(await seen_of(registry), Bound)
            await asyncio.to_thread(stop.wait)

    async with registry, registry.announce(instance_of("one")), watching(registry, "orders", seconds=5) as watcher:
        thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
        thread.start()
        try:
            await watcher.until(Bound((instance_of("one"), instance_of("two"))))
        finally:
            stop.set()
            await asyncio.to_thread(thread.join)
        await watcher.until(Bound((instance_of("one"),)))


async def test_a_start_and_a_clean_stop_are_seen_at_once(tmp_path, record_property):
    """A start or a clean stop of another process reaches a watcher within 0.2 s."""
    delays: list[float] = []
    async with (
        announcer(tmp_path) as other,
        DirectoryComponentRegistry(tmp_path) as registry,
        watching(registry, "orders", seconds=5) as watcher,
    ):
        await watcher.until(Absent())
        for expected in (Bound((other.instance,)), Absent()) * 5:
            begun = await other.toggle()
            await watcher.until(expected)
            delays.append(time.monotonic() - begun)
    record_property("start_stop_seconds", delays)
    # The median, as the machine that runs this may run others beside it; the watcher's own bound is for the others.
    assert sorted(delays)[len(delays) // 2] < 0.2, delays


async def test_a_killed_process_is_gone_within_a_second(tmp_path, record_property):
    """SIGKILL of a process reaches every watcher within a second, and its file is swept."""
    delays: list[float] = []
    async with DirectoryComponentRegistry(tmp_path) as one, DirectoryComponentRegistry(tmp_path) as two:
        async with watching(one, "orders", seconds=5) as first, watching(two, "orders", seconds=5) as second:
            for _ in range(5):
                async with announcer(tmp_path) as other:
                    await other.toggle()
                    for watcher in (first, second):
                        await watcher.until(Bound((other.instance,)))
                    begun = other.kill()
                    for watcher in (first, second):
                        await watcher.until(Absent())
                        delays.append(time.monotonic() - begun)
        assert await one.instances() == {}
    record_property("kill_seconds", delays)
    assert sorted(delays)[len(delays) // 2] < 1, delays  # as above
    assert files_in(tmp_path) == []


@pytest.mark.long
async def test_thirty_processes_come_and_go_at_once(tmp_path):
    """After thirty processes started, stopped and were killed at random, each watcher has exactly those that live."""
    chance = random.Random(7)

    async def live(name: str, ready: asyncio.Barrier, done: asyncio.Event) -> Instance | None:
        fate = chance.choice(["stays", "stops", "killed"])
        toggles = chance.randrange(1, 8) * 2 - (fate != "stops")
        async with AsyncExitStack() as stack:
            async with starting:
                other = await stack.enter_async_context(announcer(tmp_path, name))
            await ready.wait()
            for _ in range(toggles):
                await other.toggle()
            if fate == "killed":
                other.kill()
                await asyncio.wait_for(other.process.wait(), 30)  # until then it holds its lock
            living[name] = other.instance if fate == "stays" else None
            await ready.wait()
            await done.wait()

    living: dict[str, Instance | None] = {}
    starting = asyncio.Semaphore(6)  # thirty interpreters at once take the machine from all others
    async with DirectoryComponentRegistry(tmp_path) as registry, watching(registry, "orders", seconds=20) as watcher:
        ready, done = asyncio.Barrier(31), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(live(f"{number:02}", ready, done))
            await ready.wait()  # all have started
            await ready.wait()  # all have done what they do
            staying = tuple(found for _, found in sorted(living.items()) if found)
            assert len(staying) in range(1, 30)
            await watcher.until(Bound(staying))
            async with DirectoryComponentRegistry(tmp_path) as late:
                assert await seen_of(late) == Bound(staying)
            done.set()
        await watcher.until(Absent())


async def test_a_forked_child_does_not_keep_its_dead_parent_alive(tmp_path):
    """A child that was forked without running a new program inherits no lock of its parent."""
    async with (
        DirectoryComponentRegistry(tmp_path) as registry,
        watching(registry, "orders", seconds=5) as watcher,
        announcer(tmp_path, "one", "fork") as other,
    ):
        await other.toggle()
        child = int(await other.read())
        try:
            await watcher.until(Bound((other.instance,)))
            other.kill()
            await watcher.until(Absent())
            os.kill(child, 0)  # it still runs
        finally:
            os.kill(child, signal.SIGKILL)


async def test_leftovers_of_dead_processes_are_swept(tmp_path):
    """Files that nobody holds are never reported, and removed; temporary ones only when they are old."""
    async with announcer(tmp_path) as other:
        await other.toggle()
        while not any(name.endswith(".json") for name in files_in(tmp_path)):
            await asyncio.sleep(0.01)
        other.kill()
    assert len(files_in(tmp_path)) == 1
    old, young = tmp_path / "orders.x.0123456789abcdef.tmp", tmp_path / "orders.y.0123456789abcdef.tmp"
    old.touch()
    young.touch()
    os.utime(old, (time.time() - 3600, time.time() - 3600))
    async with DirectoryComponentRegistry(tmp_path) as registry:
        assert await seen_of(registry) == Absent()
    assert files_in(tmp_path) == [young.name]


async def test_nobody_elses_file_is_removed(tmp_path):
    """A folder that others use as well keeps their old temporary files, and copies of ours."""
    draft, copy = tmp_path / "thesis-draft.tmp", tmp_path / "orders-copy.json"
    draft.write_text("the only one there is")
    copy.write_bytes(msgspec.json.encode(instance_of("one")))
    for file in (draft, copy):
        os.utime(file, (time.time() - 3600.0,) * 2)
    async with DirectoryComponentRegistry(tmp_path) as registry:
        assert await registry.instances() == {}
    assert files_in(tmp_path) == [copy.name, draft.name]


@pytest.mark.parametrize("what", ["file", "folder"])
async def test_what_somebody_deleted_comes_back(tmp_path, what, caplog):
    """An announcer whose file, or whole folder, was deleted (by a cleaner of temporary folders) puts it back."""
    folder = tmp_path / "folder"
    async with (
        DirectoryComponentRegistry(folder) as announcing,
        announcing.announce(instance_of("one")),
        DirectoryComponentRegistry(folder) as registry,
        watching(registry, "orders", seconds=5) as watcher,
    ):
        await watcher.until(Bound((instance_of("one"),)))
        begun = time.monotonic()
        (file,) = folder.iterdir()
        file.unlink()
        if what == "folder":
            # The announcer may be faster than we are.
            while folder.exists():
                for path in folder.iterdir():
                    path.unlink(missing_ok=True)
                try:
                    folder.rmdir()
                except OSError:
                    continue
                break
        while not folder.exists() or not files_in(folder):
            await asyncio.sleep(0.01)
        assert time.monotonic() - begun < 5
        await watcher.until(Bound((instance_of("one"),)))
    assert "were deleted and are restored" in caplog.text
    assert files_in(folder) == []


async def test_a_folder_that_became_unusable_is_watched_for(tmp_path, caplog):
    """While a folder cannot be used, watchers fail and announcers warn once; both recover when it can be again."""
    folder = tmp_path / "folder"
    async with (
        DirectoryComponentRegistry(folder) as registry,
        registry.announce(instance_of("one")),
        watching(registry, "orders", seconds=5) as watcher,
    ):
        await watcher.until(Bound((instance_of("one"),)))
        for attempt in range(100):  # the announcer may make the folder again before we make the file
            folder.rename(tmp_path / f"away{attempt}")
            try:
                folder.touch(exist_ok=False)
            except FileExistsError:
                continue
            break
        while caplog.text.count("clients may not find the instances") < 1 or len(watcher.seen) < 2:
            await asyncio.sleep(0.01)
        assert isinstance(watcher.seen[-1], Failed)
        folder.unlink()
        await watcher.until(Bound((instance_of("one"),)))
    assert caplog.text.count("clients may not find the instances") == 1


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    """When the disk takes no more, placing fails with the system's error and removes what it began."""
    file = LockFile(tmp_path, "orders.one", b"x" * 4096)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.place()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files_in(tmp_path) == []
    file.withdraw()
    file.place()
    assert files_in(tmp_path) == []  # a withdrawn file stays away


async def test_a_removed_folder_is_a_failure_and_is_not_made_by_who_only_reads(tmp_path):
    """A watcher whose folder is removed fails for as long as it is gone. It never makes an empty one to believe."""
    folder = tmp_path / "folder"
    folder.mkdir()
    async with DirectoryComponentRegistry(folder) as registry, watching(registry, "orders", seconds=5) as watcher:
        await watcher.until(Absent())
        async with DirectoryComponentRegistry(folder) as other, other.announce(instance_of("one")):
            await watcher.until(Bound((instance_of("one"),)))
        await watcher.until(Absent())
        folder.rmdir()
        while len(watcher.seen) < 4:
            await asyncio.sleep(0.01)
        assert isinstance(failed := watcher.seen[3], Failed)
        assert str(failed.cause) == (
            f"unavailable: no instance can be found: the registry's folder {folder} cannot be used: "
            "No such file or directory"
        )
        for _ in range(20):  # it is read each time
            with pytest.raises(CommunicationError, match="No such file or directory"):
                await registry.instances()
        assert not folder.exists()
        async with DirectoryComponentRegistry(folder) as other, other.announce(instance_of("one")):
            await watcher.until(Bound((instance_of("one"),)))
        assert [type(sighting) for sighting in watcher.seen[:5]] == [Absent, Bound, Absent, Failed, Bound]


async def test_a_folder_that_was_never_there_is_empty(tmp_path):
    """Before the first server has announced, there is nobody, and no folder is made to say so."""
    folder = tmp_path / "folder"
    async with DirectoryComponentRegistry(folder) as registry, watching(registry, "orders", seconds=5) as watcher:
        await watcher.until(Absent())
        assert await registry.instances() == {}
        assert not folder.exists()
        async with DirectoryComponentRegistry(folder) as other, other.announce(instance_of("one")):
            await watcher.until(Bound((instance_of("one"),)))


async def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    """Where there can be no folder, announcing fails with path and reason, and watching reports it and recovers."""
    blocker = tmp_path / "file"
    blocker.touch()
    folder = blocker / "folder"
    async with DirectoryComponentRegistry(folder) as registry:
        with pytest.raises(CommunicationError) as raised:
            async with registry.announce(instance_of("one")):
                pass
        assert raised.value.code is Code.UNAVAILABLE
        assert raised.value.message == (
            f"instance one of orders cannot be announced: the registry's folder {folder} cannot be used: "
            "Not a directory"
        )
        assert isinstance(raised.value.__cause__, NotADirectoryError)
        async with watching(registry, "orders", seconds=5) as watcher:
            assert isinstance(await seen_of(registry), Failed)
            with pytest.raises(CommunicationError, match="Not a directory"):
                await registry.instances()
            blocker.unlink()
            await watcher.until(Absent())
            async with registry.announce(instance_of("one")):
                await watcher.until(Bound((instance_of("one"),)))


async def test_what_is_no_instance_is_passed_over_with_one_warning(tmp_path, caplog):
    """Garbage, halves, links, pipes and folders are skipped with one warning each, and are not removed."""
    names = [f"{kind}.{kind}.0123456789abcdef.json" for kind in "abcdefgh"]
    garbage, half, other, link, folder, large, deep, pipe = (tmp_path / name for name in names)
    garbage.write_bytes(b"\xff\x00")
    half.write_text('{"id": "x", "compon')
    other.write_text('{"name": "something else"}')
    link.symlink_to("/etc/passwd")
    folder.mkdir()
    large.write_bytes(b" " * (1024 * 1024 + 1))
    deep.write_text('{"x": ' + "[" * 20_000 + "]" * 20_000 + "}")
    os.mkfifo(pipe)
    for unrelated in ("unrelated.txt", "unrelated.json", "unrelated.0123.json"):  # not even opened
        (tmp_path / unrelated).write_text("[]")
    before = files_in(tmp_path)
    async with DirectoryComponentRegistry(tmp_path) as registry, registry.announce(instance_of("one")):
        for _ in range(3):
            assert await registry.instances() == {"orders": (instance_of("one"),)}
        assert await seen_of(registry) == Bound((instance_of("one"),))
    assert files_in(tmp_path) == before
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 8
    assert {Path(text.split()[0]).name[0] for text in warnings} == set("abcdefgh")


async def test_no_descriptor_and_no_thread_is_left(tmp_path):
    """Looking closes what it opens, and leaving the registry ends its thread."""
    async with DirectoryComponentRegistry(tmp_path) as registry:
        await registry.instances()
    threads, descriptors = set(threading.enumerate()), len(files_in(Path("/dev/fd")))
    async with (
        DirectoryComponentRegistry(tmp_path) as registry,
        registry.announce(instance_of("one")),
        registry.announce(instance_of("two", "stock")),
    ):
        for _ in range(50):
            assert len(await registry.instances()) == 2
    assert set(threading.enumerate()) <= threads
    # Not exactly, as what other tests left to the garbage collector may come and go.
    assert len(files_in(Path("/dev/fd"))) < descriptors + 50


async def test_an_announcement_that_is_cancelled_on_its_way_leaves_no_file(tmp_path):
    """Whenever a task is cancelled while it announces, its file is gone in the end."""

    async def announce(registry) -> None:
        async with registry.announce(instance_of("one")):
            await asyncio.Event().wait()

    async with DirectoryComponentRegistry(tmp_path) as registry, watching(registry, "orders", seconds=5) as watcher:
        for microseconds in range(0, 1000, 20):
            task = asyncio.create_task(announce(registry))
            await asyncio.sleep(microseconds / 1e6)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        await watcher.until(Absent())
    assert files_in(tmp_path) == []


async def test_a_program_that_never_leaves_the_registry_ends(tmp_path):
    """A program whose loop was torn down around an entered registry still exits."""
    program = (
        "import asyncio, sys; from registry import *; asyncio.run(DirectoryComponentRegistry(sys.argv[1]).__aenter__())"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path), cwd=ROOT)
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_a_registry_that_was_not_entered_says_so(tmp_path):
    """Watching and announcing need `async with`; listing does not."""
    registry = DirectoryComponentRegistry(tmp_path)
    assert await registry.instances() == {}
    with pytest.raises(LocalError, match="is not running; enter it"):
        registry.watch("orders")
    with pytest.raises(LocalError, match="is not running; enter it"):
        async with registry.announce(instance_of("one")):
            pass


async def test_who_watches_beyond_the_end_is_told(tmp_path):
    """A watch that is still open when its registry is left reports a failure, not silence."""
    async with DirectoryComponentRegistry(tmp_path) as registry:
        sightings = registry.watch("orders")
        assert await anext(sightings) == Absent()
    assert str((await anext(sightings)).cause).endswith("was closed")
    await sightings.aclose()


async def test_the_default_folder_is_the_users_own(tmp_path, monkeypatch):
    """Without a path the folder is in XDG_RUNTIME_DIR, or in the temporary one; only the user may enter it."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with DirectoryComponentRegistry.from_url("directory:") as registry, registry.announce(instance_of("one")):
        assert await seen_of(registry) == Bound((instance_of("one"),))
    assert stat.S_IMODE((tmp_path / "meshcore").stat().st_mode) == 0o700
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert repr(DirectoryComponentRegistry()) == f"DirectoryComponentRegistry('{tmp_path}/meshcore-{os.geteuid()}')"


@pytest.mark.parametrize("theirs", ["link", "owner"])
async def test_a_default_folder_of_somebody_else_is_refused(tmp_path, monkeypatch, theirs):
    """A folder that another user made, or a link, is not trusted: neither to announce in nor to believe."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    if theirs == "link":
        (tmp_path / "meshcore").symlink_to(tmp_path / "elsewhere")
        reason = "Not a directory"
    else:
        (tmp_path / "meshcore").mkdir()
        if os.geteuid():
            pytest.skip("only root can give a folder away")
        os.chown(tmp_path / "meshcore", 65534, -1)
        reason = "it belongs to user 65534, and this process runs as user 0; run as that user, or name a folder .*"
    async with DirectoryComponentRegistry() as registry:
        with pytest.raises(CommunicationError, match=f"{tmp_path}/meshcore cannot be used: {reason}$"):
            async with registry.announce(instance_of("one")):
                pass
        assert isinstance(await seen_of(registry), Failed)


@pytest.mark.parametrize(
    ("url", "folder"),
    [("directory:///some/path", "/some/path"), ("directory:/a%20b", "/a b"), ("directory:///", "/")],
)
def test_the_folder_of_a_setting(url, folder):
    """A setting names an absolute path, percent-encoded where it must be."""
    assert repr(DirectoryComponentRegistry.from_url(url)) == f"DirectoryComponentRegistry({folder!r})"


@pytest.mark.parametrize(
    "url", ["directory:relative", "directory://host/path", "directory:///p?x=1", "directory:///p#x"]
)
def test_a_setting_that_names_no_folder_is_refused(url):
    """A host, a relative path, a query or a fragment is a mistake, and said to be one."""
    with pytest.raises(ValueError, match="takes an absolute path, as in directory:///some/path"):
        DirectoryComponentRegistry.from_url(url)


async def test_without_file_events_the_folder_is_looked_at_often(tmp_path, monkeypatch, caplog):
    """When the system has no file events left, changes are seen by looking, after one warning."""

    def exhausted(*arguments):
        raise RuntimeError("Too many open files (os error 24)")

    # Really exhausting them would hit whatever else runs on the machine: the number is per user.
    monkeypatch.setattr("meshcore.registry.directory.scanner.RustNotify", exhausted)
    async with DirectoryComponentRegistry(tmp_path) as registry, watching(registry, "orders", seconds=5) as watcher:
        await watcher.until(Absent())
        async with DirectoryComponentRegistry(tmp_path) as other, other.announce(instance_of("one")):
            await watcher.until(Bound((instance_of("one"),)))
        await watcher.until(Absent())
    assert caplog.text.count("is watched without file events: Too many open files") == 2  # one of each registry
