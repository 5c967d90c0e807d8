"""Every code block of the README runs as it stands, in order, in one folder."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from meshcore import load_settings
from tests.support.processes import ROOT, free_port

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# What CI runs as steps of its own (.ci/run): it would not end here.
ELSEWHERE = {"bash .dev/demo\n", "bash .dev/test\n", 'pip install ".[cli]"\n'}


def environment(folder: Path) -> dict[str, str]:
    """Where a reader would stand: the environment's commands on the PATH, and a registry of the test's own."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MESHCORE_REGISTRY": f"directory://{folder}/registry",
        "PYTHONWARNINGS": "error",
        # The plugin is there, also where meshcore was installed before it had one.
        "PYTEST_ADDOPTS": "-p no:meshcore -p meshcore.testing.pytest_plugin -p no:cacheprovider -p no:schemathesis",
    }


async def run(folder: Path, port: int, *command: str) -> str:
    """Run a command, which must succeed; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, f"{command}\n{output.decode()}\n{errors.decode()}\nport {port}"
    return output.decode()


@asynccontextmanager
async def serving(folder: Path, command: str, port: int) -> AsyncIterator[None]:
    """Run the README's server, on a port that is free here, until the end."""
    env = {**environment(folder), "MESHCORE_ADVERTISE_URL": f"http://127.0.0.1:{port}"}
    command = command.replace("hypercorn ", f"exec hypercorn --workers 0 -b 127.0.0.1:{port} ")
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession() as session:
            while process.returncode is None:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                        if response.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.mark.long(40)
@pytest.mark.timeout(300)
async def test_every_block_runs(tmp_path: Path) -> None:
    """Blocks with a file name are written, others run; a text block after one is exactly what it prints."""
    port = free_port()
    output = ""
    async with asyncio.timeout(150):
        stack = []
        previous_end = 0
        for match in BLOCK.finditer(README):
            follows = not README[previous_end : match.start()].strip()
            previous_end = match.end()
            kind, _, name = match["info"].partition(" ")
            text = match["text"].replace("127.0.0.1:8000", f"127.0.0.1:{port}")
            match kind:
                case "python" | "toml" if name:
                    (tmp_path / name).write_text(text)
                    if name.endswith(".toml"):
                        load_settings(environ={}, directory=tmp_path)
                    elif "asyncio.run(" in text or "import" in text:
                        output = await run(tmp_path, port, sys.executable, name)
                case "python":
                    (tmp_path / "block.py").write_text(text)
                    output = await run(tmp_path, port, sys.executable, "block.py")
                case "sh" if name == "serve":
                    server = serving(tmp_path, text, port)
                    await server.__aenter__()
                    stack.append(server)
                case "sh" if text not in ELSEWHERE:
                    output = await run(tmp_path, port, "bash", "-ec", text)
                case "text" if follows:
                    assert output == text
                case _:
                    pass
        for server in stack:
            await server.__aexit__(None, None, None)


def test_the_commands_of_ci_are_the_readmes() -> None:
    """What is not run here is run by .ci/run, word for word."""
    script = (ROOT / ".ci/run").read_text()
    assert "bash .dev/demo" in script
    assert "bash .dev/test" in script


def test_it_is_short_and_names_every_page() -> None:
    """At most 200 lines, among them a link to each page of the guide."""
    assert len(README.splitlines()) <= 200
    linked = set(re.findall(r"\]\(examples/guide/([\w-]+\.md)\)", README))
    assert {page.name for page in (ROOT / "examples/guide").glob("*.md")} <= linked
