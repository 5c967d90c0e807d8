"""Every channel keeps the contract of channels; and the kit notices one that does not."""

import pytest
from yarl import URL

from channels.http import HTTPChannel
from meshcore import Call, CommunicationError, Endpoint, channel
from meshcore.testing import check_channel


@pytest.mark.parametrize("name", ["dispatch-json", "dispatch-msgpack", "rest"])
async def test_installed_channels_conform(name: str) -> None:
    """Each channel of the distribution keeps all clauses."""
    await check_channel(name)
