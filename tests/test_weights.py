"""Mask weights of events: the reference runs, several positions, lazy columns, bad input."""

from __future__ import annotations

import warnings
import weakref
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import weight_inputs
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_inputs import DEC, RA

import batx
import batx.weight_inputs
from batx.attitudes import attitude_path
from batx.errors import (
    AttitudeError,
    BatxWarning,
    EmptySelectionError,
    KindError,
    MissingVariableError,
    PositionError,
    ValueRangeError,
)
from batx.instrument import sky
from batx.instrument.detector import DETECTOR, xy_to_detid
from batx.instrument.distortion import DistortionMap
from batx.kernels.trace import next_trace, place_at, trace_runs
from batx.schema import build, check

#: events, attitude, options of each reference run
RUNS: dict[str, tuple[str, str, dict]] = {
    "mwevt": ("events", "attitude", {}),
    "mwevt_slew": ("events_slew", "attitude_slew", {}),
    "mwevt_bigtoler": ("events_slew", "attitude_slew", {"tolerance": 0.01, "pcode_min": 0.05}),
    "mwevt_nocorr": ("events", "attitude", {"corrections": "none", "rebalance": False}),
}
AUX = {
    "imx": "IMX",
    "imy": "IMY",
    "x": "BAT_XOBJ",
    "y": "BAT_YOBJ",
    "z": "BAT_ZOBJ",
    "imx_app": "IMX_APP",
    "imy_app": "IMY_APP",
    "x_app": "BAT_XAPP",
    "y_app": "BAT_YAPP",
    "z_app": "BAT_ZAPP",
    "pcode": "PCODEFR",
    "n_good": "NGOODPIX",
    "mask_weight_norm": "MSKWTSQF",
}
SLEW = np.linspace(6.0e8 + 100, 6.0e8 + 150, 30001)


def slew_events(count: int = 30001, seed: int = 5) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    dety, detx = np.nonzero(DETECTOR)
    picked = rng.integers(0, len(detx), count)
    return weight_inputs.make_events(
        {
            "TIME": np.sort(rng.uniform(6.0e8 + 100, 6.0e8 + 150, count)),
            "DETX": detx[picked].astype(np.int16),
            "DETY": dety[picked].astype(np.int16),
            "EVENT_FLAGS": rng.choice(np.array([0, 0, 0, 16, 1, 17], np.uint8), count),
        }
    )


def forbidden(*args: object, **kwargs: object) -> None:
    raise AssertionError("something was computed")


def assert_weights_agree(weighted: xr.Dataset, weight: np.ndarray, keywords: np.ndarray) -> None:
    made = weighted["mask_weight"].values
    assert made.dtype == np.float32
    assert np.abs(made - weight).max() <= 1e-6 * np.abs(weight).max()
    np.testing.assert_array_equal(made != 0, weight != 0)
    found = [weighted.attrs[name] for name in weight_inputs.KEYWORDS]
    np.testing.assert_allclose(found, keywords, rtol=1e-6)


@pytest.mark.parametrize("run", RUNS)
def test_weights_of_the_tool_at_its_trace_times(run: str) -> None:
    """Every 50th event of the reference runs, with traces at the times of the tool's table."""
    events, attitude, options = RUNS[run]
    stored = weight_inputs.arrays()
    weighted = weight_inputs.events(events).bat.mask_weight(
        RA, DEC, **weight_inputs.inputs(attitude), times=stored[f"{run}/aux/TIME"], **options
    )
    keywords = stored[f"{run}/keywords"].copy()
    # the place at the last event is that of another event here
    keywords[3:5] = [weighted.attrs["bat_xobj"], weighted.attrs["bat_yobj"]]
    assert_weights_agree(weighted, stored[f"{run}/weight"], keywords)


@pytest.mark.parametrize("run", RUNS)
def test_trace_table_of_the_tool(run: str) -> None:
    _, attitude, options = RUNS[run]
    options = {key: value for key, value in options.items() if key in ("corrections", "tolerance")}
    stored = weight_inputs.arrays()
    table = weight_inputs.attitude(attitude).bat.ray_trace(
        RA, DEC, **weight_inputs.inputs(attitude), times=stored[f"{run}/aux/TIME"], **options
    )
    assert check(table, "ray_trace") == []
    for name, column in AUX.items():
        np.testing.assert_allclose(table[name], stored[f"{run}/aux/{column}"], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("run", RUNS)
def test_whole_runs_of_the_tool(run: str, heasoft: Path) -> None:
    from astropy.io import fits

    name, attitude, options = RUNS[run]

    def native(values: np.ndarray) -> np.ndarray:
        return values.astype(values.dtype.newbyteorder("="))

    rows = fits.getdata(heasoft / f"inputs/{name}.fits.gz", "EVENTS")
    events = weight_inputs.make_events(
        {key: native(rows[key]) for key in ("TIME", "DETX", "DETY", "EVENT_FLAGS")}
    )
    inputs = weight_inputs.inputs(attitude)
    weighted = events.bat.mask_weight(RA, DEC, **inputs, **options)
    with fits.open(heasoft / run / "mask_weight.fits.gz") as hdus:
        keywords = np.array([hdus[1].header[key.upper()] for key in weight_inputs.KEYWORDS])
        assert_weights_agree(weighted, hdus[1].data["MASK_WEIGHT"], keywords)
    options = {key: value for key, value in options.items() if key in ("corrections", "tolerance")}
    table = events.bat.ray_trace(RA, DEC, **inputs, **options)
    aux = fits.getdata(heasoft / run / "aux.fits.gz", 1)
    np.testing.assert_array_equal(table["time"], aux["TIME"])
    for variable, column in AUX.items():
        np.testing.assert_allclose(table[variable], aux[column], rtol=1e-6, err_msg=variable)
    header = fits.getheader(heasoft / run / "aux.fits.gz", 1)
    np.testing.assert_allclose(
        [table.attrs["tstart"], table.attrs["tstop"]], [header["TSTART"], header["TSTOP"]], rtol=0, atol=1e-6
    )
    tool = events.bat.mask_weight(RA, DEC, **inputs, **RUNS[run][2], compat="heasoft")
    np.testing.assert_array_equal(tool["mask_weight"], weighted["mask_weight"])


class TestWeightImage:
    def test_sky(self) -> None:
        stored = weight_inputs.arrays()
        image = weight_inputs.events().bat.mask_weight_image(RA, DEC, **weight_inputs.inputs())
        assert check(image, "detector_plane") == []
        assert image.attrs["tstart"] == 6.0e8 + 100
        expected = stored["mwimg_sky/mw_sky/weight"]
        picked = image["weight"].values.ravel()[:: weight_inputs.IMAGE_STEP]
        assert np.abs(picked - expected).max() <= 1e-6 * np.abs(expected).max()
        found = [image.attrs[name] for name in weight_inputs.KEYWORDS]
        np.testing.assert_allclose(found, stored["mwimg_sky/mw_sky/keywords"], rtol=1e-6)

    @pytest.mark.parametrize(
        ("name", "position", "options"),
        [
            ("mwimg_src/mw_default", (0.25, 0.10), {"frame": "tangent"}),
            ("mwimg_thetaphi/mw_fswlonlat", (30, 20), {"frame": "thetaphi"}),
            (
                "mwimg_near/mw_near",
                (50, 20),
                {"frame": "cartesian", "distance": 500, "corrections": "nearfield,pcode,ndets,maskwt"},
            ),
            (
                "mwimg_part/mw_forward_unbal",
                (-1.0, 0.45),
                {
                    "frame": "tangent",
                    "corrections": ["forward", "unbalanced", "flatfield"],
                    "rebalance": False,
                },
            ),
        ],
    )
    def test_instrument_frames(self, name: str, position: tuple, options: dict) -> None:
        stored = weight_inputs.arrays()
        image = weight_inputs.aperture().bat.mask_weight_image(
            *position, detector_mask=weight_inputs.detector_mask(), **options
        )
        expected = stored[f"{name}/weight"]
        picked = image["weight"].values.ravel()[:: weight_inputs.IMAGE_STEP]
        limit = 1e-3 if "near" in name else 1e-6
        assert np.abs(picked - expected).max() <= limit * np.abs(expected).max()
        np.testing.assert_allclose(
            [image.attrs[key] for key in weight_inputs.KEYWORDS],
            stored[f"{name}/keywords"],
            rtol=1e-6,
            atol=1e-6,
        )

    def test_distortion(self) -> None:
        from astropy.io import fits

        stored = weight_inputs.arrays()
        cards = {
            "CRPIX1T": 51.0,
            "CRVAL1T": 0.0,
            "CDELT1T": 0.04,
            "CRPIX2T": 31.0,
            "CRVAL2T": 0.0,
            "CDELT2T": 0.04,
        }
        cards |= {key[:-1]: value for key, value in cards.items()}
        header = fits.Header(list(cards.items()))
        shift = build(
            "image",
            {
                "image": (("plane", "y", "x"), stored["distortion"], {"units": "1"}),
                "wcs": ((), header.tostring(sep="\n", endcard=False, padding=False)),
            },
        )
        grid = DistortionMap(stored["distortion"].astype(float), (-2.0, -1.2), (0.04, 0.04))
        expected = stored["misc/mw_dist/weight"]
        for distortion in (shift, grid):
            image = weight_inputs.aperture().bat.mask_weight_image(
                0.25,
                0.10,
                frame="tangent",
                detector_mask=weight_inputs.detector_mask(),
                distortion=distortion,
            )
            picked = image["weight"].values.ravel()[:: weight_inputs.IMAGE_STEP]
            assert np.abs(picked - expected).max() <= 1e-6 * np.abs(expected).max()
            np.testing.assert_allclose(
                [image.attrs[key] for key in weight_inputs.KEYWORDS],
                stored["misc/mw_dist/keywords"],
                rtol=1e-6,
            )

    def test_every_detector(self, heasoft: Path) -> None:
        from astropy.io import fits

        inputs = weight_inputs.inputs()
        with fits.open(heasoft.parent / "survey/survey_obs/distort.fits") as hdus:
            shift = DistortionMap(hdus[0].data.astype(float), (-2.0, -1.2), (0.04, 0.04))
        made = {
            "mwimg_sky/mw_sky": weight_inputs.events().bat.mask_weight_image(RA, DEC, **inputs),
            "misc/mw_dist": inputs["aperture"].bat.mask_weight_image(
                0.25, 0.10, frame="tangent", detector_mask=inputs["detector_mask"], distortion=shift
            ),
        }
        for name, image in made.items():
            expected = fits.getdata(heasoft / f"{name}.fits.gz")
            assert np.abs(image["weight"] - expected).max() <= 1e-6 * np.abs(expected).max()

    def test_several(self) -> None:
        aperture = weight_inputs.aperture()
        both = aperture.bat.mask_weight_image([0.1, -0.3], [0.0, 0.2], frame="tangent")
        assert both["weight"].dims == ("source", "dety", "detx")
        assert check(both) == []
        for source, position in enumerate([(0.1, 0.0), (-0.3, 0.2)]):
            one = aperture.bat.mask_weight_image(*position, frame="tangent")
            np.testing.assert_array_equal(both["weight"][source], one["weight"])
            assert both["pcode"][source] == one.attrs["pcodefr"]
            assert both["mask_weight_norm"][source] == one.attrs["mskwtsqf"]

    def test_time_is_needed_on_the_sky(self) -> None:
        inputs = weight_inputs.inputs()
        with pytest.raises(ValueRangeError, match="time: found none"):
            inputs["aperture"].bat.mask_weight_image(RA, DEC, **inputs)
        image = inputs["aperture"].bat.mask_weight_image(RA, DEC, time=6.0e8 + 100, **inputs)
        assert image.attrs["tstop"] == 6.0e8 + 100


class TestTraceRule:
    """The skipping of events by a bound on the motion must not change which events need a trace."""

    def naive(self, times: np.ndarray, path: tuple, direction: np.ndarray, tolerance: float) -> list[int]:
        rows = [0]
        last = place_at(times[0], *path, direction)
        for row in range(1, len(times)):
            place = place_at(times[row], *path, direction)
            if (place[0] - last[0]) ** 2 + (place[1] - last[1]) ** 2 > tolerance**2:
                rows.append(row)
                last = place
        return rows

    def skipping(
        self, times: np.ndarray, path: tuple, direction: np.ndarray, tolerance: float, radius: float = np.inf
    ) -> list[int]:
        rows, row = [0], 0
        while True:
            place = place_at(times[row], *path, direction)
            row = next_trace(times, row, place, tolerance, radius, *path, direction)
            if row == len(times):
                return rows
            rows.append(row)

    @pytest.mark.parametrize("tolerance", [0.0001, 0.0006, 0.01, 0.2])
    @pytest.mark.parametrize("order", ["sorted", "shuffled"])
    def test_slew(self, tolerance: float, order: str) -> None:
        path = attitude_path(weight_inputs.attitude("attitude_slew"), weight_inputs.alignment()).motion
        direction = sky.radec_to_vector(RA, DEC)
        times = SLEW.copy()
        if order == "shuffled":
            times = np.random.default_rng(1).permutation(times)[:3000]
        expected = self.naive(times, path, direction, tolerance)
        assert self.skipping(times, path, direction, tolerance) == expected
        if order == "sorted":
            assert self.skipping(times, path, direction, tolerance, radius=3.0) == expected

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 10_000), st.floats(1e-4, 0.1), st.floats(0.001, 1.0))
    def test_random_motion(self, seed: int, tolerance: float, speed: float) -> None:
        rng = np.random.default_rng(seed)
        turns = np.cumsum(rng.normal(0, speed * 0.1, (40, 3)), axis=0)
        q = np.column_stack([np.sin(turns / 2), np.ones(40)])
        rows = build("attitude", {"time": np.cumsum(rng.uniform(0.1, 2.0, 40)), "quaternion": q})
        path = attitude_path(rows, sky.NOMINAL_ALIGNMENT).motion
        direction = sky.radec_to_vector(rng.uniform(-60, 60), rng.uniform(-40, 40))
        times = np.sort(rng.uniform(-1, 60, 2000))
        assert self.skipping(times, path, direction, tolerance) == self.naive(
            times, path, direction, tolerance
        )

    def test_outside_the_field_nothing_is_traced_again(self) -> None:
        """A source that comes in from behind: one trace outside, then the rule from the edge of the field."""
        half = np.deg2rad(np.linspace(0, 180, 181)) / 2
        q = np.column_stack([0 * half, 0 * half, np.sin(half), np.cos(half)])
        rows = build("attitude", {"time": np.arange(181.0), "quaternion": q})
        path = attitude_path(rows, sky.NOMINAL_ALIGNMENT).motion
        direction = sky.radec_to_vector(180.0, 0.0)
        times = np.linspace(0, 180, 200_001)
        found = self.skipping(times, path, direction, 0.0006, radius=2.0)
        edge = 180 - np.rad2deg(np.arctan(2.0))
        assert found[0] == 0
        assert times[found[1]] == pytest.approx(edge, abs=1e-3)
        inside = self.naive(times[found[1] :], path, direction, 0.0006)
        assert (np.array(inside) + found[1]).tolist() == found[1:]

    def test_requested_traces(self) -> None:
        found = trace_runs(np.array([0.0, 1.0, 5.0, 1.5, 9.0]), np.array([1.0, 1.5, 8.0]))
        assert found.tolist() == [0, 0, 1, 1, 2]

    def test_unsorted_events_have_the_weights_of_sorted_ones(self) -> None:
        events = slew_events(20000)
        inputs = weight_inputs.inputs("attitude_slew")
        positions = ([RA, RA - 3], [DEC, DEC])
        ordered = events.bat.mask_weight(*positions, **inputs)
        order = np.random.default_rng(2).permutation(20000)
        shuffled = events.isel(event=order).bat.mask_weight(*positions, **inputs)
        np.testing.assert_array_equal(shuffled["mask_weight"], ordered["mask_weight"][:, order])
        chunked = events.isel(event=order).chunk(event=20000).bat.mask_weight(*positions, **inputs)
        np.testing.assert_array_equal(chunked["mask_weight"], ordered["mask_weight"][:, order])

    def test_requested_times_for_unsorted_events(self) -> None:
        events = slew_events(4000)
        inputs = weight_inputs.inputs("attitude_slew")
        times = 6.0e8 + np.array([90.0, 115.0, 121.0, 133.0])
        ordered = events.bat.mask_weight(RA, DEC, **inputs, times=times)
        order = np.random.default_rng(2).permutation(4000)
        shuffled = events.isel(event=order).bat.mask_weight(RA, DEC, **inputs, times=times)
        np.testing.assert_array_equal(shuffled["mask_weight"], ordered["mask_weight"][order])
        assert len(np.unique(ordered["mask_weight"])) > 100


class TestSeveralPositions:
    positions = (np.array([RA, RA + 3, RA - 20]), np.array([DEC, DEC - 2, DEC + 10]))

    def test_each_is_as_if_alone(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        both = events.bat.mask_weight(*self.positions, **inputs)
        assert both["mask_weight"].dims == ("source", "event")
        assert check(both, "events") == []
        for source, (ra, dec) in enumerate(zip(*self.positions, strict=True)):
            one = events.bat.mask_weight(ra, dec, **inputs)
            np.testing.assert_array_equal(both["mask_weight"][source], one["mask_weight"])
            for coordinate, attribute in (("pcode", "pcodefr"), ("x", "bat_xobj"), ("ra", "ra_obj")):
                assert both[coordinate][source] == one.attrs[attribute]

    def test_one_in_an_array_keeps_its_dimension(self) -> None:
        weighted = slew_events().bat.mask_weight([RA], [DEC], **weight_inputs.inputs("attitude_slew"))
        assert weighted["mask_weight"].dims == ("source", "event")
        again = weighted.bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))
        assert again["mask_weight"].dims == ("event",)
        assert "source" not in again.dims
        np.testing.assert_array_equal(again["mask_weight"], weighted["mask_weight"][0])

    def test_trace_table(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        table = events.bat.ray_trace(*self.positions, **inputs)
        assert check(table, "ray_trace") == []
        alone = events.bat.ray_trace(RA, DEC, **inputs)
        assert set(alone["time"].values) <= set(table["time"].values)
        np.testing.assert_array_equal(table["imx"][0].sel(time=alone["time"]), alone["imx"])

    def test_skycoord_and_quantity(self) -> None:
        import astropy.units as u
        from astropy.coordinates import SkyCoord

        events, inputs = slew_events(2000), weight_inputs.inputs("attitude_slew")
        expected = events.bat.mask_weight(RA, DEC, **inputs)["mask_weight"]
        for position in ((RA * u.deg, DEC * u.deg), (SkyCoord(RA, DEC, unit="deg"),)):
            np.testing.assert_array_equal(
                events.bat.mask_weight(*position, **inputs)["mask_weight"], expected
            )

    def test_some_outside_the_field(self) -> None:
        with pytest.warns(BatxWarning, match="1 of 2 are never coded"):
            weighted = slew_events().bat.mask_weight(
                [RA, RA + 180], [DEC, -DEC], **weight_inputs.inputs("attitude_slew")
            )
        assert not weighted["mask_weight"][1].any()
        assert weighted["pcode"][1] == 0


class TestLazyColumns:
    def test_dask_is_numpy(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        expected = events.bat.mask_weight(RA, DEC, **inputs)
        for chunk in (30001, 7000, 1):
            part = events if chunk > 1 else events.isel(event=slice(40))
            lazy = part.chunk(event=chunk).bat.mask_weight(RA, DEC, **inputs)
            assert isinstance(lazy["mask_weight"].data, da.Array)
            assert lazy["mask_weight"].chunks == lazy["time"].chunks
            np.testing.assert_array_equal(
                lazy["mask_weight"].compute(), expected["mask_weight"][: part.sizes["event"]]
            )

    def test_nothing_is_computed_until_asked(self) -> None:
        events, inputs = slew_events().chunk(event=5000, gti=1), weight_inputs.inputs("attitude_slew")
        with dask.config.set(scheduler=forbidden):
            lazy = events.bat.mask_weight([RA, RA + 1], [DEC, DEC], **inputs)
            assert check(lazy, "events") == []
            with pytest.raises(AssertionError, match="computed"):
                lazy["mask_weight"].compute()
        assert lazy["mask_weight"].dims == ("source", "event")

    def test_one_chunk_alone(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        expected = events.bat.mask_weight(RA, DEC, **inputs)["mask_weight"]
        lazy = events.chunk(event=5000).bat.mask_weight(RA, DEC, **inputs)["mask_weight"]
        np.testing.assert_array_equal(lazy[20_000:25_000].compute(), expected[20_000:25_000])

    def test_chunks_are_not_held(self) -> None:
        """However many chunks there are, few of them are in memory at a time."""
        events, inputs = slew_events(4000), weight_inputs.inputs("attitude_slew")
        alive, most = [0], [0]

        def read(rows: slice) -> np.ndarray:
            values = events["time"].values[rows].copy()
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            weakref.finalize(values, lambda: alive.__setitem__(0, alive[0] - 1))
            return values

        parts = [dask.delayed(read)(slice(start, start + 100)) for start in range(0, 4000, 100)]
        times = da.concatenate([da.from_delayed(part, (100,), np.float64) for part in parts])
        lazy = events.chunk(event=100).assign_coords(time=("event", times, {"units": "s"}))
        total = (
            lazy.bat.mask_weight(RA, DEC, **inputs)["mask_weight"]
            .astype(float)
            .sum()
            .compute(scheduler="sync")
        )
        expected = events.bat.mask_weight(RA, DEC, **inputs)["mask_weight"].astype(float).sum()
        assert float(total) == pytest.approx(float(expected), abs=1e-12)
        assert most[0] <= 8

    def test_only_some_columns_are_dask(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        expected = events.bat.mask_weight(RA, DEC, **inputs)["mask_weight"]
        mixed = events.assign(detx=events["detx"].chunk(event=4000), dety=events["dety"].chunk(event=3000))
        np.testing.assert_array_equal(mixed.bat.mask_weight(RA, DEC, **inputs)["mask_weight"], expected)

    def test_attributes_are_those_at_the_end_of_the_observation(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        lazy = events.chunk(event=5000).bat.mask_weight(RA, DEC, **inputs)
        table = events.bat.ray_trace(RA, DEC, **inputs, times=[6.0e8 + 200])
        assert lazy.attrs["bat_xobj"] == table["x"].item()
        assert lazy.attrs["pcodefr"] == 1.0
        assert lazy.attrs["ngoodpix"] == 31662

    def test_position_outside_the_field_is_known_without_computing(self) -> None:
        events, inputs = slew_events().chunk(event=5000), weight_inputs.inputs("attitude_slew")
        with (
            dask.config.set(scheduler=forbidden),
            pytest.raises(PositionError, match="behind the instrument"),
        ):
            events.bat.mask_weight(RA + 180, -DEC, **inputs)

    def test_attitude_of_another_observation(self) -> None:
        inputs = weight_inputs.inputs("attitude_slew")
        inputs["attitude"] = inputs["attitude"].assign_coords(time=inputs["attitude"]["time"] + 1e5)
        with pytest.raises(AttitudeError, match="lie outside"):
            slew_events().chunk(event=5000).bat.mask_weight(RA, DEC, **inputs)

    def test_misplaced_events_are_reported_on_compute(self) -> None:
        events = slew_events(100)
        events["detx"][7] = 17
        lazy = events.chunk(event=50).bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))
        with pytest.warns(BatxWarning, match=r"1 good event\(s\) of 50"):
            lazy["mask_weight"].compute(scheduler="sync")

    def test_columns_on_disk_are_read_in_blocks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        expected = events.bat.mask_weight(RA, DEC, **inputs)
        events.to_netcdf(tmp_path / "events.nc")
        monkeypatch.setattr(batx.weight_inputs, "_BLOCK", 7777)
        with xr.open_dataset(tmp_path / "events.nc") as stored:
            weighted = stored.bat.mask_weight(RA, DEC, **inputs)
            assert not stored["time"].variable._in_memory
            assert not stored["detx"].variable._in_memory
            np.testing.assert_array_equal(weighted["mask_weight"], expected["mask_weight"])
            assert weighted.attrs["bat_xobj"] == expected.attrs["bat_xobj"]
            table = stored.bat.ray_trace(RA, DEC, **inputs)
        np.testing.assert_array_equal(table["time"], events.bat.ray_trace(RA, DEC, **inputs)["time"])


class TestResult:
    def test_what_else_the_events_hold_stays(self) -> None:
        events = slew_events().assign(pi=("event", np.arange(30001, dtype=np.int16)))
        events.encoding["source"] = "sw.evt"
        events.attrs["history"] = "batx simulate"
        before = events.copy(deep=True)
        weighted = events.bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))
        xr.testing.assert_identical(events, before)
        kept = weighted.drop_vars("mask_weight").drop_dims("trace")
        xr.testing.assert_identical(kept.drop_attrs(), events.drop_attrs())
        assert check(weighted, "events") == []
        assert weighted.encoding["source"] == "sw.evt"
        assert weighted.attrs["history"].splitlines()[0] == "batx simulate"
        assert f"mask_weight ra={RA}" in weighted.attrs["history"].splitlines()[1]
        assert (weighted.attrs["ra_obj"], weighted.attrs["dec_obj"]) == (RA, DEC)
        assert weighted.attrs["telescope"] == "SWIFT"

    def test_flags(self) -> None:
        events = slew_events()
        weighted = events.bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))
        good = weighted["event_flags"].isin([0, 16])
        assert not weighted["mask_weight"].where(~good, 0).any()
        assert (weighted["mask_weight"].where(good) != 0).mean() > 0.6
        unflagged = events.drop_vars("event_flags").bat.mask_weight(
            RA, DEC, **weight_inputs.inputs("attitude_slew")
        )
        np.testing.assert_array_equal(unflagged["mask_weight"].where(good, 0), weighted["mask_weight"])

    def test_detector_numbers_will_do(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        expected = events.bat.mask_weight(RA, DEC, **inputs)["mask_weight"]
        numbered = events.assign(detid=("event", xy_to_detid(events["detx"].values, events["dety"].values)))
        numbered = numbered.drop_vars(["detx", "dety"])
        np.testing.assert_array_equal(numbered.bat.mask_weight(RA, DEC, **inputs)["mask_weight"], expected)
        numbered["detid"][3] = 40000
        with pytest.warns(BatxWarning, match="without a detector"):
            assert numbered.bat.mask_weight(RA, DEC, **inputs)["mask_weight"][3] == 0

    def test_tree(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        tree = xr.DataTree.from_dict({"/events": events, **{f"/{name}": ds for name, ds in inputs.items()}})
        weighted = tree.bat.mask_weight(RA, DEC)
        xr.testing.assert_identical(weighted, events.bat.mask_weight(RA, DEC, **inputs))
        table = tree.bat.ray_trace(RA, DEC)
        xr.testing.assert_identical(table, events.bat.ray_trace(RA, DEC, **inputs))
        with pytest.raises(KindError, match="events"):
            xr.DataTree().bat.mask_weight(RA, DEC)

    def test_detector_mask_as_array(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        expected = events.bat.mask_weight(RA, DEC, **inputs)["mask_weight"]
        inputs["detector_mask"] = inputs["detector_mask"]["good"].values
        np.testing.assert_array_equal(events.bat.mask_weight(RA, DEC, **inputs)["mask_weight"], expected)

    def test_flight_mask(self) -> None:
        mask = np.where(np.random.default_rng(3).random((253, 497)) < 0.5, 1, -1)
        aperture = weight_inputs.make_aperture(
            mask,
            maskbatz=100.3,
            maskoffx=-0.145,
            maskoffy=0.114,
            maskoffz=0.05,
            maskcell0x=-124.25,
            maskcell0y=-63.25,
        )
        weighted = slew_events().bat.mask_weight(0.2, 0.1, frame="tangent", aperture=aperture)
        assert weighted.attrs["pcodefr"] == 1.0

    def test_near_source(self) -> None:
        import astropy.units as u

        aperture = weight_inputs.aperture()
        options = {"frame": "cartesian", "corrections": "nearfield,pcode,ndets,maskwt", "aperture": aperture}
        weighted = slew_events().bat.mask_weight(50, 20, distance=5 * u.m, **options)
        assert weighted.attrs["bat_zobj"] == 500
        again = slew_events().bat.mask_weight(50 * u.cm, 20, distance=500, **options)
        np.testing.assert_array_equal(again["mask_weight"], weighted["mask_weight"])
        tangent = slew_events().bat.mask_weight(0.1, 0.04, distance=500, **{**options, "frame": "tangent"})
        np.testing.assert_allclose(tangent["mask_weight"], weighted["mask_weight"], atol=1e-10)

    def test_directions_to_a_near_source_may_start_elsewhere(self) -> None:
        inputs = weight_inputs.inputs("attitude_slew")
        events = slew_events(500)
        near = {"distance": 1100.0, "origin": 100.0, "corrections": "nearfield,pcode,ndets,maskwt"}
        weighted = events.bat.mask_weight(RA, DEC, **inputs, **near)
        trace = events.bat.ray_trace(RA, DEC, times=events["time"].values[[0, -1]], **inputs, **near)
        place = batx.field_position(
            inputs["attitude"], RA, DEC, times=trace["time"].values, alignment=inputs["alignment"]
        )
        np.testing.assert_allclose(trace["x"], 1000.0 * place["imx"], rtol=1e-9)
        assert weighted.attrs["bat_xobj"] == pytest.approx(float(trace["x"][-1]), rel=1e-9)
        first = events.isel(event=slice(1))
        cartesian = first.bat.mask_weight(
            *(float(trace[axis][0]) for axis in "xy"),
            **inputs,
            frame="cartesian",
            distance=1100.0,
            corrections=near["corrections"],
        )
        np.testing.assert_allclose(cartesian["mask_weight"], weighted["mask_weight"][:1], atol=1e-10)

    def test_zero_events(self) -> None:
        events = slew_events().isel(event=slice(0))
        weighted = events.bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))
        assert weighted["mask_weight"].shape == (0,)
        assert "pcodefr" not in weighted.attrs
        with pytest.raises(EmptySelectionError, match="events: found none"):
            events.bat.ray_trace(RA, DEC, **weight_inputs.inputs("attitude_slew"))

    def test_source_at_the_edge_of_the_field_is_partially_coded(self) -> None:
        events = slew_events()
        weighted = events.bat.mask_weight(-1.0, 0.45, frame="tangent", aperture=weight_inputs.aperture())
        assert weighted.attrs["pcodefr"] == pytest.approx(0.494, abs=1e-3)
        cut = weighted.attrs["pcodefr"] + 0.01
        with pytest.warns(BatxWarning, match="pcode_min"):
            none = events.bat.mask_weight(
                -1.0, 0.45, frame="tangent", aperture=weight_inputs.aperture(), pcode_min=cut
            )
        assert not none["mask_weight"].any()


class TestBadInput:
    def test_positions_without_a_detector(self) -> None:
        events = slew_events(1000)
        events["event_flags"][:] = 0
        events["detx"][:3] = 16
        events["dety"][5] = 173
        events["detx"][6] = -4
        with pytest.warns(BatxWarning, match=r"5 good event\(s\) of 1000"):
            weighted = events.bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))
        assert not weighted["mask_weight"][[0, 1, 2, 5, 6]].any()
        assert weighted["mask_weight"][7:].any()

    def test_outside_the_field(self) -> None:
        inputs = weight_inputs.inputs("attitude_slew")
        with pytest.raises(PositionError, match=r"outside the coded field of view.*imx=.*imy="):
            slew_events().bat.mask_weight(RA + 70, DEC, **inputs)
        with pytest.raises(PositionError, match="behind"):
            slew_events().bat.mask_weight(RA + 180, -DEC, **inputs)
        table = slew_events().bat.ray_trace(RA + 180, -DEC, **inputs)
        assert not table["pcode"].any()
        assert table["mask_weight_norm"].isnull().all()

    def test_attitude_does_not_cover(self) -> None:
        events, inputs = slew_events(), weight_inputs.inputs("attitude_slew")
        rows = inputs["attitude"]
        inputs["attitude"] = rows.sel(time=slice(None, 6.0e8 + 140))
        outside = np.count_nonzero(events["time"] > inputs["attitude"]["time"][-1])
        with pytest.raises(AttitudeError, match=f"{outside} of 30001 events"):
            events.bat.mask_weight(RA, DEC, **inputs)
        lazy = events.chunk(event=1000).bat.mask_weight(RA, DEC, **inputs)
        with pytest.raises(AttitudeError, match="events of a chunk"):
            lazy["mask_weight"].compute(scheduler="sync")
        extended = events.bat.mask_weight(RA, DEC, **inputs, extrapolate=True)
        tool = events.bat.mask_weight(RA, DEC, **inputs, compat="heasoft")
        np.testing.assert_array_equal(tool["mask_weight"], extended["mask_weight"])
        held = events.bat.ray_trace(RA, DEC, **inputs, extrapolate=True, times=[6.0e8 + 150, 6.0e8 + 190])
        assert held["imx"][0] == held["imx"][1]

    def test_attitude_absent(self) -> None:
        inputs = weight_inputs.inputs()
        inputs.pop("attitude")
        with pytest.raises(AttitudeError, match="found none"):
            slew_events().bat.mask_weight(RA, DEC, **inputs)

    def test_times_not_finite(self) -> None:
        events = slew_events(100)
        events["time"][3] = np.nan
        with pytest.raises(ValueRangeError, match="1 of 100 times"):
            events.bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))

    def test_aperture_absent_or_of_another_kind(self) -> None:
        inputs = weight_inputs.inputs("attitude_slew")
        for wrong in (None, inputs["attitude"]):
            with pytest.raises(KindError, match="aperture"):
                slew_events().bat.mask_weight(RA, DEC, **{**inputs, "aperture": wrong})

    def test_wrong_kinds(self) -> None:
        inputs = weight_inputs.inputs("attitude_slew")
        with pytest.raises(KindError, match="events"):
            batx.mask_weight(inputs["aperture"], RA, DEC, **inputs)
        with pytest.raises(KindError, match="detector_mask"):
            slew_events().bat.mask_weight(RA, DEC, **{**inputs, "detector_mask": np.ones((5, 5), bool)})
        with pytest.raises(KindError, match="detector_mask"):
            slew_events().bat.mask_weight(RA, DEC, **{**inputs, "detector_mask": inputs["aperture"]})
        with pytest.raises(KindError, match="distortion"):
            slew_events().bat.mask_weight(RA, DEC, **inputs, distortion="map.fits")
        with pytest.raises(KindError, match="ndarray"):
            batx.mask_weight(np.zeros(3), RA, DEC, **inputs)

    def test_missing_column(self) -> None:
        with pytest.raises(MissingVariableError, match="no dety"):
            slew_events().drop_vars("dety").bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))

    def test_no_good_detector(self) -> None:
        inputs = weight_inputs.inputs("attitude_slew") | {"detector_mask": np.zeros((173, 286), bool)}
        with pytest.raises(EmptySelectionError, match="no good detector"):
            slew_events().bat.mask_weight(RA, DEC, **inputs)

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"tolerance": -1.0}, ValueRangeError, "tolerance"),
            ({"times": [6.0e8 + 2, 6.0e8 + 1]}, ValueRangeError, "increasing"),
            ({"compat": "sas"}, ValueRangeError, "compat"),
            ({"corrections": "flat"}, ValueRangeError, "flatfield"),
            ({"distance": 50.0}, PositionError, "mask"),
            ({"distance": -5.0}, PositionError, "positive"),
            ({"distance": 500.0, "origin": 600.0}, PositionError, "below BAT_Z"),
            ({"distance": 500.0, "origin": 1.0, "frame": "cartesian"}, PositionError, "no directions"),
            ({"frame": "galactic"}, PositionError, "frame"),
        ],
    )
    def test_options(self, options: dict, error: type, text: str) -> None:
        with pytest.raises(error, match=text):
            slew_events(10).bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"), **options)

    def test_good_input_warns_of_nothing(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            slew_events().bat.mask_weight(RA, DEC, **weight_inputs.inputs("attitude_slew"))
