"""Sky images and cleaning against the committed part of the reference runs (no other folder is needed)."""

from __future__ import annotations

import image_inputs
import numpy as np
import pytest
from astropy.io.fits import Header

from batx.kernels.precision import keep_bits

ARRAYS = image_inputs.arrays()


def image(name, **options):
    inputs = dict(image_inputs.inputs())
    if name in ("burst_near", "burst_none", "burst_os1"):
        inputs["attitude"] = inputs["alignment"] = None
    options = {
        "burst_bkgsub": {"background": image_inputs.background()},
        "burst_near": {"distance": 5000.0},
        "burst_none": {"corrections": "none", "rebalance": False},
        "burst_os1": {"oversampling": 1},
    }.get(name, {}) | options
    return image_inputs.burst().bat.sky_image(**inputs, compat="heasoft", **options)


def sampled(values):
    return np.asarray(values, dtype=np.float64).ravel()[:: image_inputs.PIXEL_STEP]


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("burst", "burst_allbits"),
        *((n, n) for n in ("burst_bkgsub", "burst_near", "burst_none", "burst_os1")),
    ],
)
def test_images(name, stored):
    found = image(name, noise=False)
    coding = image(name, noise=False, pcode_min=0.0)
    values, pcode, expected = sampled(found["counts"]), sampled(coding["pcode"]), ARRAYS[stored]
    defined = np.isfinite(expected)
    edge = np.abs(pcode - 0.01) < 1e-4  # coding has the factor ce here
    assert ((np.isfinite(values) == defined) | edge).all()
    difference = np.abs(values - expected)[defined & np.isfinite(values)] / ARRAYS[f"{stored}/peak"]
    coded = pcode[defined & np.isfinite(values)] > 0.05
    assert difference[coded].max() <= 3e-5
    assert difference.max() <= 1e-4
    keywords = dict(zip(image_inputs.KEYWORDS, ARRAYS[f"{stored}/keywords"], strict=True))
    header = Header.fromstring(found["wcs"].item(), sep="\n")
    for key, value in keywords.items():
        assert abs(header.get(key, 0.0) - value) < (1e-10 if key.startswith("CRPIX") else 1e-12), key


def test_noise_and_coding():
    found = image("burst")
    noise, pcode = sampled(found["noise"]), sampled(found["pcode"])
    coded = pcode > 0.05
    np.testing.assert_allclose(noise[coded], ARRAYS["burst_noise"][coded], rtol=1e-5)
    edge = np.abs(sampled(image("burst", noise=False, pcode_min=0.0)["pcode"]) - 0.01) < 1e-4
    np.testing.assert_allclose(pcode[~edge], ARRAYS["burst_pcode"][~edge], rtol=0, atol=1e-5)


def test_reduced_precision():
    short = keep_bits(ARRAYS["burst_allbits"], 7, ARRAYS["burst_noise"])
    np.testing.assert_array_equal(short, ARRAYS["burst"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clean_bkg", {}),
        ("clean_src", {"catalog": True}),
        ("bkgonly", {"catalog": True, "version": "bkgfit"}),
        ("clean_balshort", {"balance": "ShortEdges,LongEdges"}),
    ],
)
def test_cleaning(name, options):
    options = dict(options)
    if options.pop("catalog", False):
        options |= {"catalog": image_inputs.catalog(), "aperture": image_inputs.inputs()["aperture"]}
    good = image_inputs.inputs()["detector_mask"]
    found = image_inputs.burst().bat.clean(detector_mask=good, **options)["counts"].values
    difference = np.abs(found.ravel()[:: image_inputs.DETECTOR_STEP] - ARRAYS[name])
    assert difference.max() <= 1e-5 * image_inputs.burst()["counts"].values.max()
