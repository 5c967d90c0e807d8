"""When a certificate that ends is warned of, by a clock of the test."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshcore.ports.identity import Credentials
from meshcore.security.expiry import ExpiryWarnings, share_left, span

ONE = Credentials(
    identity="spiffe://dev.mesh/svc/orders",
    names=("orders",),
    issuer="CN=root",
    begins=0.0,
    ends=1000.0,
    chain=b"",
    key=b"key",
    roots=b"",
)


def test_each_warning_comes_once():
    """Below a third, below a tenth, and at the end; not while enough is left, and not again at each look."""
    warnings = ExpiryWarnings()
    told = {now: warnings.look((ONE,), now) for now in (0, 600, 690, 701, 800, 901, 950, 1000, 1100)}
    assert {now: len(texts) for now, texts in told.items() if texts} == {701: 1, 901: 1, 1000: 1}
    assert "certificate of spiffe://dev.mesh/svc/orders expires in 5 minutes: 30% of its life is left" in told[701][0]
    assert "expires in 99 seconds: 10% of its life" in told[901][0]
    assert "has expired" in told[1000][0]


def test_a_late_look_gives_the_last_warning_only():
    """A machine that slept for a week has no use for the first one."""
    assert ["has expired" in text for text in ExpiryWarnings().look((ONE,), 2000)] == [True]


def test_a_renewed_certificate_is_another_one():
    """It has warnings of its own, and each component too."""
    warnings = ExpiryWarnings()
    assert warnings.look((ONE,), 750)
    renewed = msgspec.structs.replace(ONE, begins=700.0, ends=1700.0)
    other = msgspec.structs.replace(ONE, identity="spiffe://dev.mesh/svc/stock")
    assert warnings.look((renewed,), 760) == []
    assert len(warnings.look((renewed, other), 950)) == 1
    assert len(warnings.look((renewed, other), 1450)) == 2


@given(st.lists(st.floats(-100, 2000), max_size=30))
def test_never_more_than_three_warnings_for_one_certificate(times):
    """Also if the clock is set back, and however often is looked."""
    warnings = ExpiryWarnings()
    told = [text for now in times for text in warnings.look((ONE,), now)]
    assert len(told) == len(set(told)) <= 3
    assert bool(told) == any(share_left(ONE, now) <= 0.3 for now in times)


def test_roots_alone_end_never():
    """They have no certificate that could."""
    assert ExpiryWarnings().look((Credentials.trusting_only(b"roots"),), 10**12) == []


def test_times_for_people():
    """The largest unit of which there are two."""
    assert [span(seconds) for seconds in (86_400 * 9.6, 86_400, 119, 1)] == [
        "10 days",
        "24 hours",
        "119 seconds",
        "1 seconds",
    ]
