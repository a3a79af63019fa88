"""Events and light curves to and from stingray, and power spectra by it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import stingray
import xarray as xr
from makers import make
from pulsar_inputs import FREQUENCY, T0, counts_curve, cycles, pulsar_events, rates_curve

import batx
from batx.errors import (
    EmptySelectionError,
    KindError,
    MissingPackageError,
    MissingVariableError,
    ValueRangeError,
)

WIDTH = 0.25
LOWER = T0 + WIDTH * np.arange(1600)
EXAMPLES = {
    "events": lambda: make("events"),
    "events for two sources": lambda: make("events_sources"),
    "events without good time": lambda: make("events").drop_vars(["gti_start", "gti_stop"]),
    "rates": lambda: make("lightcurve").isel(energy=[1]),
    "rates, a band selected": lambda: make("lightcurve").isel(energy=2),
    "counts": lambda: counts_curve(np.arange(40, dtype=np.uint16), LOWER[:40], WIDTH),
}


@pytest.mark.filterwarnings("ignore:SIMON says")
@pytest.mark.parametrize("name", EXAMPLES)
def test_round_trip_is_identical(name: str):
    ds = EXAMPLES[name]()
    back = batx.from_stingray(ds.bat.to_stingray())
    xr.testing.assert_identical(back, ds)
    for variable in ds.variables:
        assert back[variable].dtype == ds[variable].dtype, variable


def test_what_stingray_sees():
    ev = make("events")
    made = ev.bat.to_stingray()
    assert isinstance(made, stingray.EventList)
    assert made.gti.tolist() == np.column_stack([ev["gti_start"], ev["gti_stop"]]).tolist()
    assert made.mjdref == pytest.approx(51910.00074287037)
    assert (made.mission, made.instr, made.dt, made.timesys) == ("swift", "bat", 1e-4, "TT")
    assert made.detid.tolist() == ev["detid"].values.tolist()
    lc = counts_curve(np.arange(40), np.delete(LOWER[:41], 20), WIDTH)
    made = lc.bat.to_stingray()
    assert isinstance(made, stingray.Lightcurve)
    assert made.counts.tolist() == list(range(40))
    assert made.dt == WIDTH
    # a bin that is not there is not good time
    assert made.gti == pytest.approx(np.array([[T0, T0 + 5.0], [T0 + 5.25, T0 + 10.25]]))


def test_what_became_of_the_object_counts():
    ev = make("events")
    made = ev.bat.to_stingray()
    kept = made.energy > 50
    back = batx.from_stingray(made.apply_mask(kept))
    xr.testing.assert_identical(back, ev.isel(event=kept))
    lc = counts_curve(np.arange(40), LOWER[:40], WIDTH)
    shifted = batx.from_stingray(lc.bat.to_stingray().shift(100.0))
    assert shifted["time"].values.tolist() == (lc["time"].values + 100.0).tolist()
    assert shifted["time_bnds"].values == pytest.approx(lc["time_bnds"].values + 100.0)


def test_objects_of_others():
    made = stingray.EventList(
        [1.0, 2.0], energy=[20.0, 30.0], pi=[200, 300], gti=[[0.0, 3.0]], mjdref=55197.0007
    )
    ds = batx.from_stingray(made)
    assert ds.bat.kind == "events"
    assert (ds.attrs["mjdref_int"], round(ds.attrs["mjdref_frac"], 6)) == (55197, 0.0007)
    assert ds["pi"].values.tolist() == [200, 300]
    lc = batx.from_stingray(BARE, energy=(15, 350))
    assert lc.bat.check() == []
    assert lc["counts"].values.tolist() == [[3], [4]]
    assert lc["time_bnds"].values.tolist() == [[0.0, 1.0], [1.0, 2.0]]
    assert lc.attrs["statistic"] == "poisson"
    again = batx.from_stingray(lc.bat.to_stingray())
    xr.testing.assert_identical(again, lc)


BARE = stingray.Lightcurve([0.5, 1.5], [3, 4], dt=1.0)
SWAPPED = counts_curve(np.ones(3), LOWER[[1, 0, 2]], WIDTH)
UNEVEN = make("lightcurve_counts").isel(energy=[0])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: make("lightcurve").bat.to_stingray(), KindError, "one band"),
        (lambda: make("spectrum").bat.to_stingray(), KindError, "spectrum"),
        (lambda: UNEVEN.bat.to_stingray(), ValueRangeError, "different widths"),
        (lambda: SWAPPED.bat.to_stingray(), ValueRangeError, "order"),
        (lambda: batx.from_stingray(3), KindError, "found int"),
        (lambda: batx.from_stingray(stingray.EventList()), MissingVariableError, "no times"),
        (lambda: batx.from_stingray(BARE), MissingVariableError, "its band"),
    ],
)  # fmt: skip
def test_bad_input(call, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        call()


def test_nan_bins_are_refused():
    rates = rates_curve(np.array([1.0, np.nan, 2.0]), np.ones(3), LOWER[:3], WIDTH)
    with pytest.raises(ValueRangeError, match="dropna"):
        rates.bat.to_stingray()


@pytest.mark.parametrize(
    "call",
    [
        lambda: make("events").bat.to_stingray(),
        lambda: counts_curve(np.arange(40), LOWER[:40], WIDTH).bat.power_spectrum(),
    ],
)
def test_without_stingray(call, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "stingray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(MissingPackageError, match=r"pip install 'batx\[timing\]'") as caught:
        call()
    assert isinstance(caught.value, ImportError) and isinstance(caught.value, batx.BatxError)


class Absent:
    """What the import system finds where stingray is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "stingray":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


# ---------------------------------------------------------------- power spectra


def leahy(counts: np.ndarray) -> np.ndarray:
    return 2 * np.abs(np.fft.rfft(counts)[1 : (counts.size + 1) // 2]) ** 2 / counts.sum()


def test_power_by_hand():
    counts = np.random.default_rng(1).poisson(50, 1600)
    found = counts_curve(counts, LOWER, WIDTH).bat.power_spectrum()
    assert found.bat.check() == []
    assert found["power"].values[:, 0] == pytest.approx(leahy(counts))
    assert found["frequency"].values == pytest.approx(np.arange(1, 800) / 400)
    assert (found.attrs["n_segments"], found.attrs["segment"]) == (1, 400.0)
    segments = counts_curve(counts, LOWER, WIDTH).bat.power_spectrum(segment=50.0)
    parts = counts.reshape(8, 200)
    # normalised with the mean of all
    expected = np.mean([leahy(part) * part.sum() for part in parts], axis=0) / parts.sum(axis=1).mean()
    assert segments["power"].values[:, 0] == pytest.approx(expected)
    assert segments["power_err"].values == pytest.approx(segments["power"].values / np.sqrt(8))


def test_events_and_bins_agree_and_bands_have_an_axis():
    ev = pulsar_events(np.random.default_rng(2), 60.0, [(0.0, 100.0), (130.0, 400.0)], 0.4, start=T0)
    found = ev.bat.power_spectrum(dt=WIDTH, segment=50.0, energy=[15, 50, 350], noise="counting")
    assert found["power"].dims == ("frequency", "energy")
    assert found.attrs["n_segments"] == 7
    binned = ev.bat.lightcurve(dt=WIDTH, energy=[15, 50, 350])
    assert binned.bat.power_spectrum(segment=50.0, noise="counting")["power"].values == pytest.approx(
        found["power"].values
    )
    best = float(found["frequency"][found["power"].sum("energy").values.argmax()])
    assert best == pytest.approx(FREQUENCY, abs=0.01)
    assert float(found["false_alarm"].min()) < 1e-6
    assert float(found["power"].max()) > float(found["threshold"].max())


def test_fractional_rms():
    """A sinusoid of amplitude a has a fractional variance of a²/2 over the noise."""
    lower = T0 + 0.125 * np.arange(8000)
    wave = 0.3 * np.cos(2 * np.pi * cycles(lower + 0.0625 - T0, 0.1))
    counts = np.random.default_rng(3).poisson(1000 * (1 + wave))
    found = counts_curve(counts, lower, 0.125).bat.power_spectrum(norm="frac")
    assert found["power"].attrs["units"] == found["threshold"].attrs["units"] == "1/Hz"
    step = float(found["frequency"][1] - found["frequency"][0])
    noise = 2 * 8000 * 0.125 / counts.sum()
    assert float((found["power"] - noise).sum() * step) == pytest.approx(0.045, rel=0.03)
    both = found["threshold"].values / found["power"].values.mean()
    plain = counts_curve(counts, lower, 0.125).bat.power_spectrum()
    assert both == pytest.approx(plain["threshold"].values / plain["power"].values.mean())


def test_rates_with_errors():
    """Noise of errors that differ has a mean Leahy power of 2, and false alarms as often as said."""
    rng = np.random.default_rng(4)
    error = rng.uniform(1, 3, 1600)
    found = [
        rates_curve(10 + rng.normal(0, error), error, LOWER, WIDTH).bat.power_spectrum(segment=100.0)
        for _ in range(60)
    ]
    assert np.mean([one["power"].mean() for one in found]) == pytest.approx(2.0, abs=0.03)
    alarms = np.array([float(one["false_alarm"].min()) for one in found])
    assert 0.1 < np.mean(alarms < 0.3) < 0.5


@pytest.mark.slow
def test_false_alarms_of_white_noise():
    rng = np.random.default_rng(5)
    curves = [counts_curve(rng.negative_binomial(50, 0.5, 1600), LOWER, WIDTH) for _ in range(250)]
    alarms = [
        float(lc.bat.power_spectrum(segment=segment)["false_alarm"].min())
        for lc, segment in zip(curves, [50.0, 400.0] * 125, strict=True)
    ]
    for level in (0.1, 0.3):
        spread = 3 * np.sqrt(level * (1 - level) / 250)
        assert abs(np.mean(np.array(alarms) < level) - level) < spread + 0.1 * level


LC = counts_curve(np.full(300, 20), T0 + np.arange(300.0), 1.0)
EV = pulsar_events(np.random.default_rng(6), 20.0, [(0.0, 50.0), (70.0, 200.0)])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: EV.bat.power_spectrum(), ValueRangeError, "dt"),
        (lambda: EV.bat.power_spectrum(dt=1.0), ValueRangeError, "2 pieces.*segment"),
        (lambda: EV.bat.power_spectrum(dt=1.0, segment=140.0), EmptySelectionError, "shorter segments"),
        (lambda: EV.bat.power_spectrum(dt=1.0, segment=3.0), ValueRangeError, "at least 4"),
        (lambda: LC.bat.power_spectrum(dt=1.0), ValueRangeError, "rebin_time"),
        (lambda: LC.bat.power_spectrum(norm="abs"), ValueRangeError, "'leahy', 'frac'"),
        (lambda: LC.bat.power_spectrum(level=0), ValueRangeError, "between 0 and 1"),
        (
            lambda: LC.isel(time=np.delete(np.arange(300), 100)).bat.power_spectrum(),
            ValueRangeError,
            "2 pieces",
        ),
        (lambda: make("lightcurve_counts").bat.power_spectrum(), ValueRangeError, "one width"),
        (lambda: make("spectrum").bat.power_spectrum(), KindError, "spectrum"),
        (
            lambda: rates_curve(-np.ones(300), np.ones(300), LOWER[:300], WIDTH).bat.power_spectrum(
                norm="frac"
            ),
            ValueRangeError,
            "cannot divide",
        ),
    ],
)
def test_power_spectra_of_bad_input(call, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        call()
