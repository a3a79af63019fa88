"""Light curves of several files as one: in order, every bin once, gaps kept, and nothing counted twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from block_inputs import curve
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import make

import batx
from batx.errors import BatxWarning, KindError, RebinError, ValueRangeError
from batx.kernels.rebin import keep_disjoint


def part(start: float, counts: list[int], width: float = 1.0, **options) -> xr.Dataset:
    """Return a raw light curve without good time, as rate files have none."""
    lower = start + width * np.arange(len(counts))
    return curve(counts, lower=lower, width=width, **options).drop_vars(["gti_start", "gti_stop"])


def test_order_overlaps_and_gaps():
    joined = batx.join_lightcurves(part(20.0, [7, 8]), part(0.0, [1, 2, 3]), part(2.0, [3, 4]))
    assert joined.counts.values[:, 0].tolist() == [1, 2, 3, 4, 7, 8]
    assert joined.time_bnds.values[:, 0].tolist() == [0, 1, 2, 3, 20, 21]
    assert list(zip(joined.gti_start.values, joined.gti_stop.values, strict=True)) == [(0, 4), (20, 22)]
    assert joined.attrs["exposure"] == 6.0
    assert joined.bat.kind == "lightcurve"


def test_any_order_gives_the_same():
    parts = [part(20.0, [7, 8]), part(0.0, [1, 2, 3]), part(2.0, [3, 4])]
    xr.testing.assert_identical(batx.join_lightcurves(*parts), batx.join_lightcurves(*parts[::-1]))


def test_one_curve_alone_is_put_in_order():
    shuffled = part(0.0, [1, 2, 3]).isel(time=[2, 0, 1])
    assert batx.join_lightcurves(shuffled).counts.values[:, 0].tolist() == [1, 2, 3]


def test_good_time_of_the_curves_is_kept():
    """A curve that states its good time is not good wherever it has bins."""
    first = curve([1, 2, 3]).assign(gti_start=("gti", [0.0]), gti_stop=("gti", [2.5]))
    joined = batx.join_lightcurves(first, part(10.0, [4]))
    assert joined.gti_stop.values.tolist() == [2.5, 11.0]


def test_of_the_same_bin_the_better_exposed_counts():
    full, half = part(0.0, [5, 6]), part(1.0, [3, 7], exposure=[0.5, 1.0])
    for curves in ((full, half), (half, full)):
        joined = batx.join_lightcurves(*curves)
        assert joined.counts.values[:, 0].tolist() == [5, 6, 7]
        assert joined.exposure.values.tolist() == [1, 1, 1]


def test_other_values_in_the_same_bin_are_refused():
    with pytest.raises(ValueRangeError, match=r"1 bin\(s\) in two curves with different counts"):
        batx.join_lightcurves(part(0.0, [1, 2]), part(1.0, [3, 4]))


def test_bins_that_overlap_in_part_are_left_out():
    with pytest.warns(BatxWarning, match=r"left out 1 bin\(s\) that overlap others in part"):
        joined = batx.join_lightcurves(part(0.0, [1, 2]), part(1.4, [3, 4]))
    assert joined.time_bnds.values[:, 0].tolist() == [0, 1, 2.4]
    # 0.4 s of good time have no bin, and no sum may pretend that they have
    with pytest.raises(RebinError, match="although it holds good time"):
        joined.bat.rebin_time(edges=[0.0, 3.4])


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0.5, 1.0])), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_what_is_kept_does_not_overlap(bins):
    lower, exposure = (np.array(values, dtype=float) for values in zip(*sorted(bins), strict=True))
    lower = 0.4 * lower
    kept, twin = keep_disjoint(lower, lower + 1.0, exposure, np.full(lower.size, 1e-3))
    assert np.all(np.diff(lower[kept]) > 1.0 - 1e-3)
    assert not kept[twin >= 0].any()
    for k in np.flatnonzero(~kept):  # each bin left out has one that is in its way
        assert np.any(np.abs(lower[kept] - lower[k]) < 1.0 - 1e-3)


def test_different_bins_are_refused_or_rebinned():
    seconds, fine = part(0.0, [10, 20, 30, 40]), part(4.0, [1] * 16, width=0.25)
    with pytest.raises(RebinError, match=r"different width \(0.25, 1 s\); give dt="):
        batx.join_lightcurves(seconds, fine)
    joined = batx.join_lightcurves(fine, seconds, dt=2.0)
    assert joined.counts.values[:, 0].tolist() == [30, 70, 8, 8]
    assert joined.exposure.values.tolist() == [2, 2, 2, 2]


def test_a_bin_that_two_curves_share_is_their_sum():
    """Re-binning comes after joining: neither half of the bin from 4 to 8 s is lost."""
    joined = batx.join_lightcurves(part(0.0, [1] * 6), part(6.0, [2] * 6), dt=4.0)
    assert joined.counts.values[:, 0].tolist() == [4, 6, 8]
    awkward = part(12.0, [1] * 30, width=0.3)
    with pytest.raises(RebinError, match="split=True"):
        batx.join_lightcurves(part(0.0, [1] * 12), awkward, dt=4.0)
    shared_out = batx.join_lightcurves(part(0.0, [1] * 12), awkward, dt=4.0, split=True)
    assert float(shared_out.counts.sum()) == pytest.approx(42.0)


def test_bands_and_quantities_must_be_the_same():
    two = part(10.0, [[1, 2], [3, 4]])
    with pytest.raises(ValueRangeError, match="rebin_energy"):
        batx.join_lightcurves(part(0.0, [1, 2]), two)
    joined = batx.join_lightcurves(part(0.0, [1, 2]), two.bat.rebin_energy([15, 350]))
    assert joined.counts.values[:, 0].tolist() == [1, 2, 3, 7]
    rates = part(10.0, [1.0]).rename(counts="rate")
    with pytest.raises(ValueRangeError, match="curves of counts and curves of rates"):
        batx.join_lightcurves(part(0.0, [1, 2]), rates)


def test_what_may_be_joined():
    first, second = part(0.0, [1], obs_id="00000000001"), part(5.0, [2], obs_id="00000000002")
    assert "obs_id" not in batx.join_lightcurves(first, second).attrs
    weighted = [make("lightcurve").assign_attrs(obs_id=name) for name in ("1", "2")]
    with pytest.raises(ValueRangeError, match="different obs_id"):
        batx.join_lightcurves(*weighted)
    assert batx.join_lightcurves(*weighted, other_observations=True).sizes["time"] == 50
    with pytest.raises(ValueRangeError, match="different statistic"):
        batx.join_lightcurves(first, make("lightcurve").isel(energy=[0]))
    with pytest.raises(ValueRangeError, match="no light curves"):
        batx.join_lightcurves()
    with pytest.raises(KindError, match="join_lightcurves works on kind"):
        batx.join_lightcurves(make("events"))


def test_chunked_values_stay_lazy():
    lazy = [part(0.0, [1, 2, 3]).chunk(time=2), part(7.0, [4, 5]).chunk(time=2)]
    joined = batx.join_lightcurves(*lazy)
    assert joined["counts"].chunks is not None
    assert joined.counts.values[:, 0].tolist() == [1, 2, 3, 4, 5]


def test_a_long_curve_in_two_is_the_whole(tmp_path):
    whole = part(6e8, list(range(1000)), width=0.064, utcf=-20.0)
    paths = [tmp_path / name for name in ("b.lc", "a.lc")]
    for path, rows in zip(paths, (slice(480, 1000), slice(0, 500)), strict=True):
        whole.isel(time=rows).bat.to_fits(path)
    joined = batx.join_lightcurves(*paths)
    np.testing.assert_array_equal(joined.counts, whole.counts)
    np.testing.assert_allclose(joined.time_bnds, whole.time_bnds, rtol=0, atol=1e-6)
    assert joined.attrs["utcf"] == -20.0


def test_rate_files(shared: Path):
    """Five 64 ms files of two days; the second and third of one orbit follow each other without a gap."""
    folder = shared / "data" / "rates"
    files = sorted(folder.glob("*brtms*"))
    joined = batx.join_lightcurves(*files)
    parts = [batx.open_dataset(file) for file in files]
    assert int(joined.counts.sum()) == sum(int(one.counts.sum()) for one in parts)
    assert joined.sizes["time"] == sum(one.sizes["time"] for one in parts)
    assert joined.sizes["gti"] == len(files) - 1
    one_second = batx.join_lightcurves(*folder.glob("*brt1s*"))
    assert one_second.sizes["time"] == 10107
    assert one_second.exposure.sum() == 10107.0
