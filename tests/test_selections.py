"""What a selection by xarray leaves of a product still works with every verb."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from makers import make
from matplotlib.figure import Figure

import batx
from batx.errors import EmptySelectionError, GtiError
from batx.schema import check, identify

ONE_BAND = {"energy": 1}
ONE_BIN = {"time": 2}


@pytest.fixture(name="two_sources")
def _two_sources() -> xr.Dataset:
    """Events weighted for two positions, with the keywords of an earlier weighting for the first."""
    rng = np.random.default_rng(3)
    coords = {
        "ra": [165.0, 160.0],
        "dec": [24.0, -20.0],
        "x": [1e6, 2e6],
        "y": [3e6, 4e6],
        "z": [1e7, 1e7],
        "pcode": [0.9, 0.4],
        "n_good": [30000, 20000],
        "mask_weight_norm": [0.98, 0.5],
    }
    events = batx.build(
        "events",
        {
            "time": np.sort(rng.uniform(6e8, 6e8 + 10, 200)),
            "energy": rng.uniform(15, 150, 200),
            "mask_weight": (("source", "event"), rng.normal(0, 1, (2, 200)).astype(np.float32)),
            "gti_start": [6e8],
            "gti_stop": [6e8 + 10],
        },
        {"telescope": "SWIFT", "instrument": "BAT", "ra_obj": 165.0, "dec_obj": 24.0, "mskwtsqf": 0.98},
    )
    return events.assign_coords({name: ("source", values) for name, values in coords.items()})


class TestOneValueOfAnAxis:
    @pytest.mark.parametrize("selection", [ONE_BAND, ONE_BIN, {**ONE_BAND, **ONE_BIN}])
    def test_it_is_still_a_light_curve(self, selection):
        one = make("lightcurve").isel(selection)
        assert identify(one) == "lightcurve"
        assert check(one) == []

    @pytest.mark.parametrize("selection", [ONE_BAND, ONE_BIN])
    def test_as_a_table_and_back(self, selection):
        one = make("lightcurve").isel(selection)
        assert batx.from_pandas(one.bat.to_pandas(), kind="lightcurve").identical(one)

    def test_a_single_value_as_a_table(self):
        lc = make("lightcurve")
        table = lc.isel({**ONE_BAND, **ONE_BIN}).bat.to_pandas()
        assert table["rate"].tolist() == [float(lc.rate[2, 1])]

    def test_no_light_curve_without_its_coordinates(self):
        assert identify(make("lightcurve").isel(ONE_BAND).drop_vars("energy_bnds")) != "lightcurve"

    @pytest.mark.parametrize("selection", [ONE_BAND, ONE_BIN, {**ONE_BAND, **ONE_BIN}])
    def test_written_as_a_list_of_one_is(self, selection, tmp_path):
        lc = make("lightcurve")
        one = lc.isel(selection).bat.to_fits(tmp_path / "one.lc")
        kept = lc.isel({axis: [number] for axis, number in selection.items()}).bat.to_fits(
            tmp_path / "list.lc"
        )
        assert batx.open_dataset(one).load().identical(batx.open_dataset(kept).load())

    def test_rebinned_and_drawn(self):
        lc = make("lightcurve")
        one, kept = lc.isel(ONE_BAND), lc.isel(energy=[1])
        assert one.bat.rebin_time(factor=2).identical(kept.bat.rebin_time(factor=2))
        assert one.bat.plot(Figure()).texts[0].get_text() == "25-50 keV"

    @pytest.mark.parametrize("selection", [{"time": 0}, {"energy": 0}, {"time": 0, "energy": 0}])
    def test_detector_plane_written(self, selection, tmp_path):
        plane = make("detector_plane").isel(selection)
        again = batx.open_dataset(plane.bat.to_fits(tmp_path / "one.dpi"))
        again = again.isel(dict.fromkeys(selection, 0))
        np.testing.assert_array_equal(again.counts, plane.counts)
        np.testing.assert_allclose(again.energy_bnds, plane.energy_bnds)


class TestOneSource:
    def test_sources_stay_coordinates(self, two_sources):
        for made in (two_sources.bat.lightcurve(dt=1.0), two_sources.bat.spectrum()):
            assert {"ra", "dec", "pcode", "mask_weight_norm"} <= set(made.coords)
            assert not {"ra", "dec", "pcode"} & set(made.data_vars)
        assert "ra" in two_sources.bat.lightcurve(dt=1.0).bat.rebin_time(dt=2.0).coords

    @pytest.mark.parametrize("verb", ["events", "lightcurve", "spectrum", "lightcurve of one"])
    @pytest.mark.parametrize("source", [0, 1])
    def test_keywords_are_those_of_the_source(self, two_sources, verb, source, tmp_path):
        one = two_sources.isel(source=source)
        made = {
            "events": lambda: one,
            "lightcurve": lambda: two_sources.bat.lightcurve(dt=1.0).isel(source=source),
            "spectrum": lambda: two_sources.bat.spectrum().isel(source=source),
            "lightcurve of one": lambda: one.bat.lightcurve(dt=1.0),
        }[verb]()
        header = fits.getheader(made.bat.to_fits(tmp_path / "one.fits"), 1)
        keywords = ["RA_OBJ", "DEC_OBJ", "BAT_XOBJ", "PCODEFR", "NGOODPIX", "MSKWTSQF"]
        names = ["ra", "dec", "x", "pcode", "n_good", "mask_weight_norm"]
        assert [header[key] for key in keywords] == [two_sources[name].values[source] for name in names]

    def test_a_spectrum_read_back_knows_its_interval(self, two_sources, tmp_path):
        made = two_sources.isel(source=0).bat.spectrum(2.0, 5.0, t0=6e8)
        again = batx.open_dataset(made.bat.to_fits(tmp_path / "one.pha"))
        assert again.time_bnds.values.tolist() == [6e8 + 2, 6e8 + 5] == made.time_bnds.values.tolist()
        assert float(again.time) == float(made.time) == 6e8 + 3.5
        assert again.bat.plot(Figure(), t0=6e8).get_title(loc="left") == "SWIFT BAT, 2 to 5 s"

    def test_start_and_stop_are_those_of_the_bins(self, two_sources, tmp_path):
        events = two_sources.isel(source=0)
        edges = {"time": [1.0, 4.0, 9.0], "t0": 6e8}
        limits = {
            "lc": (events.bat.lightcurve(**edges), 1, 9),
            "cut.lc": (events.bat.lightcurve(dt=1.0).isel(time=slice(2, 5)), 2, 5),
            "beyond.lc": (events.bat.lightcurve(dt=4.0), 0, 10),
            "pha2": (events.bat.spectrum(**edges), 1, 9),
            "pha": (events.bat.spectrum(**edges).isel(time=1), 4, 9),
        }
        for name, (made, start, stop) in limits.items():
            header = fits.getheader(made.bat.to_fits(tmp_path / name), 1)
            assert (header["TSTART"] - 6e8, header["TSTOP"] - 6e8) == (start, stop), name

    def test_legend_names_the_positions(self, two_sources):
        axes = two_sources.bat.lightcurve(dt=1.0).bat.plot(Figure())
        labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
        assert labels == ["RA 165.000°, Dec +24.000°", "RA 160.000°, Dec -20.000°"]


class TestEvents:
    def test_where_is_explained(self, two_sources):
        events = two_sources.isel(source=0)
        with pytest.raises(GtiError, match=r"ds\.sel\(event=condition\)"):
            events.where(events.energy > 50, drop=True).bat.lightcurve(dt=1.0)
        assert int(events.sel(event=events.energy > 50).bat.lightcurve(dt=1.0).totcounts.sum()) > 0

    @pytest.mark.parametrize("verb", ["lightcurve", "spectrum"])
    def test_times_that_miss_the_data(self, two_sources, verb):
        with pytest.raises(EmptySelectionError, match="outside the good time"):
            getattr(two_sources.bat, verb)(time=[0.0, 10.0, 20.0])
