"""Histograms: what is observed, summed up for Prometheus, and its quantiles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshcore.telemetry.histogram import BOUNDS, EXPOSED, Histogram, cumulated, packed, quantile, unpacked

_SECONDS = st.floats(0.0, 100.0)


@given(st.lists(_SECONDS))
def test_each_exposed_bucket_has_what_is_not_above_its_bound(observed):
    """The bound itself belongs to the bucket, as Prometheus wants it."""
    histogram = Histogram()
    for seconds in observed:
        histogram.observe(seconds)
    assert cumulated(histogram.counts) == [sum(each <= bound for each in observed) for bound in EXPOSED]
    assert histogram.count == len(observed)


@given(st.lists(_SECONDS), st.lists(_SECONDS))
def test_packed_counts_add_up_and_can_be_taken_apart(some, more):
    """The sum of two numbers is that of all counts, and the difference likewise."""
    first, second = Histogram(), Histogram()
    for seconds in some:
        first.observe(seconds)
    for seconds in more:
        second.observe(seconds)
    both = packed(first.counts) + packed(second.counts.tobytes())
    assert list(unpacked(both)) == [one + other for one, other in zip(first.counts, second.counts, strict=True)]
    assert unpacked(both - packed(second.counts)) == first.counts


@given(st.lists(st.floats(0.0, BOUNDS[-1]), min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_lies_in_the_bucket_of_the_observation_of_that_rank(observed, share):
    """So it is wrong by no more than the width of its bucket."""
    histogram = Histogram()
    for seconds in observed:
        histogram.observe(seconds)
    found = quantile(histogram.counts, share)
    rank = next(each for at, each in enumerate(sorted(observed), 1) if at >= share * len(observed))
    above = next(at for at, bound in enumerate(BOUNDS) if rank <= bound)
    assert found is not None
    assert (BOUNDS[above - 1] if above else 0.0) <= found <= BOUNDS[above] + 1e-12


def test_without_observations_there_is_no_quantile():
    """None, and not 0 seconds."""
    assert quantile(Histogram().counts, 0.99) is None


def test_what_takes_longer_than_the_last_bound_counts_as_that():
    """The last bucket has no upper bound to interpolate to."""
    histogram = Histogram()
    histogram.observe(10 * BOUNDS[-1])
    assert quantile(histogram.counts, 0.99) == BOUNDS[-1]
    assert cumulated(histogram.counts)[-1] == 0
