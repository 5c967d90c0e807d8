"""What `why` says of the channel that a mesh takes by itself."""

from __future__ import annotations

import pytest

from meshcore import Mesh, load_settings
from tests.support.depot import Depot
from tests.support.depot_client import DepotClient

OLD = "dispatch-msgpack(http://127.0.0.1:1),dispatch-json(http://127.0.0.1:1)"
NEW = "dispatch-msgpack(http://127.0.0.1:2),stream-msgpack(http://127.0.0.1:2)"
AGAINST = "does not offer stream-msgpack, so none is called over it"


@pytest.mark.parametrize(
    ("offered", "preferred", "channel", "remarks"),
    [
        (NEW, "", "stream-msgpack", [""]),
        (f"{OLD},{NEW}", "", "dispatch-msgpack", [AGAINST, ""]),
        (OLD, "", "dispatch-msgpack", [""]),
        (f"{OLD},{NEW}", "dispatch-msgpack", "dispatch-msgpack", ["", ""]),
        (NEW, "dispatch-msgpack", "dispatch-msgpack", [""]),
        (f"{OLD},{NEW}", "stream-msgpack", "stream-msgpack", [""]),
    ],
)
async def test_why_names_the_channel_and_what_is_against_the_stream(
    offered: str, preferred: str, channel: str, remarks: list[str]
) -> None:
    """An instance without the stream is named, unless somebody has chosen the channel."""
    given = {"registry": f"static:depot-component={offered}", "preferred_channel": preferred}
    async with Mesh(DepotClient, settings=load_settings(given, environ={})) as mesh:
        await mesh.wait_for(Depot)
        found = mesh.why(Depot, "echo")
        assert (found.channel, [each.remark for each in found.instances]) == (channel, remarks)
