"""Keys of an issuer."""

from __future__ import annotations

import pytest

from tests.support.issuer import document, ec_key, ed_key, public, rsa_key


@pytest.fixture
def jwks(tmp_path):
    """A file with three keys, one of each type."""
    path = tmp_path / "jwks.json"
    path.write_bytes(document(public(ec_key(), "one"), public(rsa_key(), "two"), public(ed_key(), "three")))
    return path
