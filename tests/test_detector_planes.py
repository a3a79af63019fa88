"""Detector planes: the numbers of batbinevt, any grid, positions that are no detector."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from reference_events import (
    BANDS,
    MET0,
    folder_events,
    make_events,
    packed_arrays,
    packed_events,
    unpacked_mask,
)

import batx
from batx.errors import BatxWarning, MissingVariableError, ValueRangeError
from batx.instrument.detector import DETECTOR

BURST = (MET0 + 50, MET0 + 75)
RUNS = {"all_1b": (), "bkg_1b": (MET0, MET0 + 15), "burst_1b": BURST}


@pytest.fixture(scope="module")
def packed():
    return packed_arrays()


@pytest.fixture(scope="module")
def events(packed):
    return packed_events(packed)


@pytest.mark.parametrize("name", ["all_1b", "burst_1b"])
def test_packed(packed, events, name):
    made = batx.detector_plane(events, *RUNS[name], compat="heasoft")
    np.testing.assert_array_equal(made.counts[0], packed[name])


@pytest.mark.parametrize("name", RUNS)
def test_images(heasoft, name):
    from astropy.io import fits

    made = batx.detector_plane(folder_events(heasoft), *RUNS[name], energy=(15, 150), compat="heasoft")
    with fits.open(heasoft / f"dpi/{name}.dpi.gz") as hdus:
        np.testing.assert_array_equal(made.counts[0], hdus[0].data)
        assert float(made.exposure) == hdus[0].header["EXPOSURE"]
        assert made.time_bnds.values.tolist() == [hdus[0].header["TSTART"], hdus[0].header["TSTOP"]]


def test_bands_as_images_and_table(heasoft):
    from astropy.io import fits

    made = batx.detector_plane(folder_events(heasoft), *BURST, energy=BANDS, compat="heasoft")
    with fits.open(heasoft / "dpi/burst_4b.dpi.gz") as hdus:
        for band in range(4):
            np.testing.assert_array_equal(made.counts[band], hdus[band].data)
    table = fits.getdata(heasoft / "dpi/burst.dpitab.gz", "BAT_DPH")
    np.testing.assert_array_equal(made.counts, table["DPH_COUNTS"].reshape(4, 173, 286))
    np.testing.assert_array_equal(made.energy_bnds, np.stack([table["E_MIN"], table["E_MAX"]], axis=1))
    assert float(made.exposure) == table["EXPOSURE"][0]


def test_flagged_events_are_dropped(events):
    ours = batx.detector_plane(events)
    theirs = batx.detector_plane(events, compat="heasoft")
    flagged = events.isel(event=~np.isin(events.event_flags, (0, 16)))
    extra = batx.detector_plane(flagged, compat="heasoft")
    assert int(extra.counts.sum()) > 0
    np.testing.assert_array_equal(ours.counts + extra.counts, theirs.counts)


def test_any_grid_sums_to_one_image(events):
    cube = batx.detector_plane(events, time=MET0 + np.array([0.0, 40, 90, 200]), energy=[15, 50, 150])
    image = batx.detector_plane(events)
    assert cube.counts.dims == ("time", "energy", "dety", "detx")
    assert cube.bat.check() == image.bat.check() == []
    np.testing.assert_array_equal(cube.counts.sum(["time", "energy"]), image.counts[0])
    np.testing.assert_array_equal(cube.exposure, [40, 50, 109.5])
    uniform = batx.detector_plane(events, dt=20.0)
    np.testing.assert_array_equal(uniform.counts.sum("time"), image.counts)
    rate = batx.detector_plane(events, quantity="rate")
    np.testing.assert_allclose(rate.rate * rate.exposure, image.counts)
    overlapping = batx.detector_plane(events, energy=[(15, 150), (15, 50)])
    np.testing.assert_array_equal(overlapping.counts[0], image.counts[0])
    np.testing.assert_array_equal(overlapping.counts[1], cube.counts[:, 0].sum("time"))


def test_detector_mask(packed, events):
    good = unpacked_mask(packed["detector_mask"])
    masked = batx.detector_plane(events, detector_mask=good)
    np.testing.assert_array_equal(masked.counts[0], batx.detector_plane(events).counts[0].where(good, 0))
    mask = batx.combine_masks(good)
    xr.testing.assert_identical(masked, batx.detector_plane(events, detector_mask=mask))


@pytest.mark.parametrize("overlap", [False, True])
def test_dask_is_numpy(events, overlap):
    grid = {"dt": 50.0, "energy": [(15, 150), (15, 50)] if overlap else [15, 50, 150]}
    with dask.config.set(scheduler="synchronous"):
        lazy = batx.detector_plane(events.chunk(event=60_000), **grid)
        assert lazy.counts.chunks is not None
        xr.testing.assert_identical(lazy.compute(), batx.detector_plane(events, **grid))


def test_positions_that_are_no_detector():
    ev = make_events(
        {
            "time": np.arange(6.0),
            "energy": np.full(6, 20, np.float32),
            "detx": np.array([0, 16, 286, -1, 5, 1], np.int16),
            "dety": np.array([0, 0, 3, 3, 10, 173], np.int16),
            "gti_start": [0.0],
            "gti_stop": [10.0],
        }
    )
    assert not DETECTOR[0, 16]
    assert not DETECTOR[10, 5]
    with pytest.warns(
        BatxWarning, match=r"^5 event\(s\) have a position outside the detector plane or in its gaps"
    ):
        made = batx.detector_plane(ev)
    assert int(made.counts.sum()) == 1
    with pytest.warns(BatxWarning, match=r"^3 event"):
        tool = batx.detector_plane(ev, compat="heasoft")
    assert int(tool.counts[0, 0, 16]) == 1
    assert int(tool.counts.sum()) == 3


def test_bad_input(events):
    with pytest.raises(ValueRangeError, match="both dt and time"):
        batx.detector_plane(events, dt=1.0, time=[0, 1])
    with pytest.raises(ValueRangeError, match="quantity"):
        batx.detector_plane(events, quantity="flux")
    with pytest.raises(MissingVariableError, match="'detx'"):
        batx.detector_plane(events.drop_vars("detx"))
