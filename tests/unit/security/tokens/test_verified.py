"""Tokens that were verified already."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshcore.security.tokens.verified import VerifiedTokens

SIZE, LARGEST = 4, 30


@given(
    st.lists(
        st.tuples(st.sampled_from(["keep", "get", "clear"]), st.text("ab", min_size=1, max_size=12), st.integers(0, 9)),
        max_size=60,
    )
)
def test_what_is_kept_is_bounded(steps):
    """By its number and by its characters. What is kept is what was used last, as long as it has not expired."""
    known, order = VerifiedTokens(SIZE, LARGEST), dict[str, int]()
    for what, token, time in steps:
        if what == "keep":
            order.pop(token, None)
            order[token] = time
            known.keep(token, {"sub": token}, float(time))
            while len(order) > SIZE or sum(map(len, order)) > LARGEST:
                del order[next(iter(order))]
        elif what == "clear":
            order.clear()
            known.clear()
        else:
            until = order.pop(token, -1)
            if until > time:
                order[token] = until
                assert known.get(token, time) == {"sub": token}
            else:
                assert known.get(token, time) is None
        assert len(known) == len(order)


def test_a_token_that_is_larger_than_all_may_be_is_not_kept():
    """Nor does it stay in the sum."""
    known = VerifiedTokens(SIZE, LARGEST)
    known.keep("x" * 31, {}, 5.0)
    assert len(known) == 0
    known.keep("x" * 30, {}, 5.0)
    assert known.get("x" * 30, 4.0) == {}
