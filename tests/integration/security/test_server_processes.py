"""Worker processes of hypercorn's own command line serve the TLS of the mesh, and take new certificates over."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from tests.support.certificates import Authority
from tests.support.processes import QUICK_START, ROOT, ServerProcess, free_port
from tests.support.tls_server import client_context

pytestmark = pytest.mark.one_python


async def test_workers_of_hypercorn_take_new_certificates_over(tmp_path):
    """Both know their callers, on uvloop. After the files are replaced, new connections have the new certificate."""
    authority = Authority.make()
    folder = authority.leaf("who-component").write(tmp_path / "identity")
    port = free_port()
    environment = {
        **os.environ,
        **QUICK_START,
        "PYTHONPATH": str(ROOT),
        "MESHCORE_MODULE": "tests.support.whoami:WhoModule",
        "MESHCORE_REGISTRY": f"directory:{tmp_path}/registry",
        "MESHCORE_IDENTITY": f"files:{folder}",
    }
    options = ("--bind", f"127.0.0.1:{port}", "--workers", "2", "--worker-class", "uvloop")
    with (tmp_path / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hypercorn", "meshcore.app:app", *options),
            *("--config", "python:meshcore.serve.tls.hypercorn"),
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        )
    server = ServerProcess(process, f"http://127.0.0.1:{port}", tmp_path / "log")  # probes answer in clear text, too
    context = client_context(authority, tmp_path / "client", "billing")

    async def ask() -> tuple[str, str]:
        """Who calls, and the number of the server's certificate, by a new connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        certificate = writer.get_extra_info("peercert")
        writer.write(b"GET /api/who HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        return json.loads(body), certificate["serialNumber"]

    try:
        await server.until_ready()
        announced = [path.read_text() for path in (tmp_path / "registry").glob("*.json")]
        assert announced
        assert all(f'"https://127.0.0.1:{port}"' in each for each in announced)
        seen = {await ask() for _ in range(8)}
        assert {who for who, _ in seen} == {"certificate billing spiffe://dev.mesh/svc/billing"}
        old = {number for _, number in seen}
        authority.leaf("who-component").write(folder)
        async with asyncio.timeout(30):
            while old & {(await ask())[1] for _ in range(8)}:
                await asyncio.sleep(0.1)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)
