"""Runs the code blocks of a page as a reader would: in order, in one empty folder.

What stands after the three backticks says what becomes of a block:

    python                run; it must end with status 0
    python NAME.py        run if it imports anything
    toml NAME.toml        what meshcore reads must be valid settings
    sh                    run by `bash -e`; it must succeed
    sh serve              a server (`hypercorn ...` or `meshcore run ...`), which runs until the page ends
    sh install            not run
    text                  right after another block: exactly what that printed; after a server: lines of its log.
                          `...` stands for anything. Elsewhere it is not checked.
    json, yaml, toml      must parse
    ini, dockerfile, html, mermaid    not checked

A block with a file name is written as that file. Addresses such as 127.0.0.1:8000 and 127.0.0.1:8001 become free ports.
A page whose blocks name Consul's 127.0.0.1:8500 gets a real agent, which `consul:` means as well; one that starts
agents itself has the program on the PATH.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tomllib
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import yaml

from meshcore import load_settings
from meshcore.testing import consul_agent
from meshcore.testing.consul.binary import find_consul
from tests.support.processes import ROOT, free_port

_BLOCK = re.compile(r"^(?P<indent>[ \t]*)```(?P<info>[^\n]*)\n(?P<text>.*?)^[ \t]*```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\b(127\.0\.0\.1|0\.0\.0\.0|localhost):(8[01]\d\d)\b")
_CONSUL = "127.0.0.1:8500"
_STARTS_CONSUL = re.compile(r"\bconsul(_agent|_cluster)?\(")
_SERVER = re.compile(r"\b(hypercorn|meshcore run)\b")
_UNCHECKED = {"ini", "dockerfile", "html", "mermaid"}
_SECONDS = 60.0  # that a command may take; it takes one or two where nobody else needs the cores


@dataclass
class Block:
    """A code block of a page.

    Attributes:
        line: where it begins.
        kind: the first word after its backticks.
        words: those that follow.
        text: what is in it.
        follows: whether nothing but space stands between it and the block before.
    """

    line: int
    kind: str
    words: list[str]
    text: str
    follows: bool

    @property
    def name(self) -> str:
        """The file that it is written to, if it has one."""
        return next((word for word in self.words if "." in word), "")


def blocks(page: str) -> Iterator[Block]:
    """The code blocks of a page, in order."""
    end = 0
    for match in _BLOCK.finditer(page):
        line = page.count("\n", 0, match.start()) + 1
        assert not match["indent"], f"line {line}: a block that is indented"
        kind, *words = match["info"].split() or [""]
        yield Block(line, kind, words, match["text"], follows=not page[end : match.start()].strip())
        end = match.end()


async def run_page(page: str, name: str, folder: Path, elsewhere: Collection[str] = ()) -> None:
    """Run all blocks of a page.

    Args:
        page: its text.
        name: what it is called when a block fails.
        folder: an empty one; the blocks run in a folder below it.
        elsewhere: the texts of blocks that something else runs.
    """
    reader = _Reader(folder)
    async with AsyncExitStack() as stack:
        run = "".join(block.text for block in blocks(page) if block.kind not in {"text", *_UNCHECKED})
        if _STARTS_CONSUL.search(run):
            reader.programs = f"{(await asyncio.to_thread(find_consul, ROOT / '.cache')).parent}:"
        if _CONSUL in run:
            config = {"connect": {"enabled": True}}  # its certificate authority
            agent = await stack.enter_async_context(consul_agent(cache=ROOT / ".cache", config=config))
            reader.consul = agent.url.removeprefix("http://")
        for block in blocks(page):
            if block.text in elsewhere:
                continue
            try:
                await reader.read(block, stack)
            except Exception as error:
                raise AssertionError(f"{name}:{block.line}: {error}") from error


@dataclass
class _Reader:
    """What a page has come to.

    Attributes:
        root: the folder for everything.
        consul: the address of the page's Consul agent, if it needs one.
        output: what the last block printed.
        log: where the last server writes, if the last block was one.
        ports: the free ports in the place of the page's.
        programs: further folders for the PATH, each with a colon behind it.
    """

    root: Path
    consul: str = ""
    output: str = ""
    log: Path | None = None
    ports: dict[str, int] = field(default_factory=dict)
    programs: str = ""

    def __post_init__(self) -> None:
        self.folder = self.root / "page"
        self.folder.mkdir()

    async def read(self, block: Block, stack: AsyncExitStack) -> None:
        """Do with a block what its kind says; servers end with the stack."""
        text = self._translate(block.text)
        if block.kind == "text":
            if block.follows:
                await self._compare(text)
            return
        self.output, self.log = "", None
        if block.name:
            file = self.folder / block.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        match block.kind:
            case "python":
                await self._python(block.name, text)
            case "sh" if "serve" in block.words:
                await self._serve(text, stack)
            case "sh" if "install" not in block.words:
                self.output = await self._run("bash", "-ec", text)
            case "toml":
                tomllib.loads(text)
                load_settings(environ={}, directory=self.folder)
            case "json":
                _check_json(text)
            case "yaml":
                list(yaml.safe_load_all(text))
            case kind:
                assert kind in {"sh", *_UNCHECKED}, f"a block of an unknown kind, {kind!r}"

    def _translate(self, text: str) -> str:
        """The text with ports that are free here."""

        def address(match: re.Match[str]) -> str:
            if match[2] not in self.ports:
                self.ports[match[2]] = free_port()
            return f"{match[1]}:{self.ports[match[2]]}"

        return _ADDRESS.sub(address, text.replace(_CONSUL, self.consul or _CONSUL))

    def _environment(self) -> dict[str, str]:
        """Where a reader would stand: the environment's commands on the PATH, and a registry of the test's own."""
        return {
            **os.environ,
            "PATH": f"{self.programs}{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MESHCORE_REGISTRY": f"directory://{self.root}/registry",
            "PYTHONWARNINGS": "error",
            # The plugin is there, also where meshcore was installed before it had one.
            "PYTEST_ADDOPTS": "-p no:meshcore -p meshcore.testing.pytest_plugin -p no:cacheprovider -p no:schemathesis",
            **({"CONSUL_HTTP_ADDR": self.consul} if self.consul else {}),
        }

    async def _run(self, *command: str) -> str:
        """Run a command, which must succeed; what it printed."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(), _SECONDS)
        except TimeoutError:
            raise AssertionError(f"{command} did not end within {_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = f"{output.decode()}\n{errors.decode()}".strip()
        assert process.returncode == 0, f"exit status {process.returncode}\n{said}"
        return output.decode()

    async def _python(self, name: str, text: str) -> None:
        """Run a Python file, unless nothing in it could happen."""
        if not name:
            (self.folder / "block.py").write_text(text)
            self.output = await self._run(sys.executable, "block.py")
        elif "import" in text:
            # A module of a package finds its neighbours.
            module = ("-m", name.removesuffix(".py").replace("/", "."))
            self.output = await self._run(sys.executable, *(module if "/" in name else (name,)))

    async def _serve(self, text: str, stack: AsyncExitStack) -> None:
        """Start a server, and return when it is ready."""
        found = _SERVER.search(text)
        assert found, "neither hypercorn nor meshcore run"
        bound = re.search(r"(?:-b|--bind)[ =]\S*:(\d+)", text)
        port = int(bound[1]) if bound else int(self._translate("127.0.0.1:8000").partition(":")[2])
        options = "" if bound else f" --bind 127.0.0.1:{port}"
        env = self._environment()
        if found[1] == "hypercorn":
            options += " --workers 0"  # this very process serves, unless the page says otherwise
            if port == self.ports.get("8000"):
                env["MESHCORE_ADVERTISE_URL"] = f"http://127.0.0.1:{port}"
        command = f"{text[: found.start()]}exec {found[0]}{options}{text[found.end() :]}"
        self.log = self.root / f"server-{port}.log"
        with self.log.open("w") as log:
            process = await asyncio.create_subprocess_exec(
                "bash", "-ec", command, cwd=self.folder, env=env, stdout=log, stderr=log
            )
        stack.push_async_callback(_end, process)
        async with asyncio.timeout(_SECONDS), aiohttp.ClientSession() as session:
            while not await _is_ready(session, port, tls="certfile" in text):
                assert process.returncode is None, f"the server ended\n{self.log.read_text()}"
                await asyncio.sleep(0.02)

    async def _compare(self, text: str) -> None:
        """Hold a text to what was printed."""
        if self.log is None:
            parts = (re.escape(part) for part in text.split("..."))
            said = f"not what was printed:\n{self.output}"
            assert re.fullmatch(".*".join(parts), self.output, re.DOTALL), said
            return
        lines = [re.compile(".*".join(re.escape(part) for part in line.split("..."))) for line in text.splitlines()]
        try:
            async with asyncio.timeout(_SECONDS):
                while not _stand_in(lines, self.log.read_text()):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not what the server printed:\n{self.log.read_text()}") from None


def _stand_in(lines: list[re.Pattern[str]], log: str) -> bool:
    """Whether a log has these lines, or longer ones, in this order."""
    rest = iter(log.splitlines())
    return all(any(line.search(each) for each in rest) for line in lines)


async def _is_ready(session: aiohttp.ClientSession, port: int, *, tls: bool) -> bool:
    """Whether a server listens, and wants calls if it says whether it does: another application says 404."""
    if tls:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status in {200, 404}
    except aiohttp.ClientError:
        return False


async def _end(process: asyncio.subprocess.Process) -> None:
    """Stop a server in order, or else by force."""
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _check_json(text: str) -> None:
    """Parse one document or several, one after the other."""
    rest = text.strip()
    while rest:
        _, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:].lstrip()
