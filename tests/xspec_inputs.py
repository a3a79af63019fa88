"""Fits of the reference folder, as XSPEC was told to make them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

import batx
from batx.instrument.detector import N_DETECTORS

#: (case, block): one fit each
CASES = (
    *((f"bat80_{name}", "fit") for name in ("bbody_chi", "bremss_chi", "chi_bkg_backscal", "cutoffpl_chi")),
    ("bat80_cutoffpl_chi", "cflux"),
    *((f"bat80_{name}", "fit") for name in ("pgstat", "pgstat_poissonbkg", "pgstat_tb1", "pgstat_zeros")),
    *((f"bat80_{name}", "fit") for name in ("po_chi", "wstat")),
    *((f"bat8_{name}", "fit") for name in ("bbody_chi", "bremss_chi", "cflux_belowgrid")),
    ("bat8_cflux_belowgrid", "ext"),
    *((f"bat8_cflux_{name}", "fit") for name in ("chi_sysBA", "cstat_BAstyle", "cstat_logicalF")),
    *((f"bat8_cflux_{name}", "fit") for name in ("err2706", "pgstat", "straddle")),
    *((f"bat8_{name}", "fit") for name in ("grouping", "joint_tied", "nodet_chi")),
    ("bat8_nodet_chi", "norm"),
    *((f"bat8_{name}", "fit") for name in ("nodet_cstat", "po_chi_modelsys", "po_chi_nosys", "po_chi_sys04")),
    *((f"bat8_{name}", "fit") for name in ("po_chi_sysBA", "po_chi_syskeyword", "quality")),
    *((f"bat8_{name}", "fit") for name in ("upperlim_chi_staterr0", "upperlim_cstat_staterr0")),
    ("fakeit_bat80", "fit"),
    *(("fakeit_xrt", block) for block in ("fit", "phabs", "cflux")),
    ("joint_xrt_bat8", "fit"),
    *((case, block) for case in ("nit5_po_chi", "nit5_po_chi_badtlmin") for block in ("fit", "cpl")),
    *((f"xrt_tbabspo_chi_{name}", "fit") for name in ("grp20", "grppha20")),
    *(("xrt_tbabspo_cstat_grp1", block) for block in ("fit", "angr", "phabs")),
    ("xrt_tbabspo_cstat_ungrouped", "fit"),
)

#: those of them that come with the tests
RECORDED = (
    ("bat80_po_chi", "fit"),
    ("bat80_cutoffpl_chi", "fit"),
    ("bat80_cutoffpl_chi", "cflux"),
    ("bat80_wstat", "fit"),
)

#: XSPEC's model as batx writes it, where that differs; by the block in which it is fitted
_EXPRESSIONS = {
    ("xrt_tbabspo_cstat_grp1", "angr"): "tbabs_angr*powerlaw",
    ("xrt_tbabspo_cstat_grp1", "phabs"): "phabs_angr*powerlaw",
}
_STATISTICS = {"chi": "chi2", "cstat": "cstat", "pgstat": "pgstat"}


@dataclass
class Reference:
    """One fit: how to make it with batx, and what XSPEC found.

    ``found`` has the values under the names of batx.
    """

    spectra: Any
    model: str
    how: dict[str, Any]
    found: dict[str, dict[str, Any]]
    statistic: float
    dof: int
    flux: dict[tuple[float, float], list[float]] = field(default_factory=dict)


def reference(folder: Path, case: str, block: str) -> Reference:
    """Return a fit of the folder ``reference/xspec``."""
    name = "results_tb2.json" if (folder / case / "results_tb2.json").exists() else "results.json"
    result = json.loads((folder / case / name).read_text())["blocks"][block]
    commands = _commands((folder / case / "run.xcm").read_text(), block)
    expression = _EXPRESSIONS.get((case, block), commands["model"])
    spectra = _spectra(folder / case)
    model = batx.spectral_model(expression)
    names = [name for name in model.names if name != "pivot"]
    found, settings = _parameters(names, result, len(spectra))
    flux = {
        tuple(map(float, band.split("_"))): [values[key] for key in sorted(values)]
        for band, values in result["flux_erg_cm2_s"].items()
    }
    how = {
        "response": _responses(folder / case, commands),
        "background": folder / case / "bkg.pha" if (folder / case / "bkg.pha").exists() else False,
        "parameters": settings,
        "flux": sorted(flux),
        **{key: value for key, value in commands.items() if key in ("energy", "statistic", "model_error")},
    }
    if len(spectra) > 1:
        how["untied"] = sorted({name.partition("[")[0] for name in found if "[" in name})
    if case.endswith("err2706"):
        how["delta"] = 2.706
    return Reference(
        spectra if len(spectra) > 1 else spectra[0],
        expression,
        how,
        {name: entry for name, entry in found.items() if "err_lo" in entry},
        result["stat"],
        result["dof"],
        flux,
    )


def _commands(text: str, block: str) -> dict[str, Any]:
    """Return what the commands say up to the results of a block."""
    made: dict[str, Any] = {"response": {}, "arf": {}}
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] in ("response", "arf"):
            made[words[0]][int(words[1]) if len(words) > 2 else 1] = words[-1]
        elif words[0] == "ignore" and "**" in line:
            limits = re.findall(r"\*\*-([\d.]+)\s+([\d.]+)-\*\*", line)[0]
            energy = tuple(map(float, limits))
            made["energy"] = [energy, None] if words[1].startswith("1:") else energy
        elif words[0] == "statistic" and len(words) == 3:
            made.setdefault("statistic", []).append(_STATISTICS[words[1]])
        elif words[0] == "statistic":
            made["statistic"] = _STATISTICS[words[1]]
        elif words[0] == "systematic":
            made["model_error"] = float(words[1])
        elif words[0] == "model":
            made["model"] = line.split(None, 1)[1].split("&")[0].strip()
        elif words[0] == "dump" and words[1] == block:
            return made
    raise ValueError(f"no block {block}")


def _spectra(folder: Path) -> list[Path]:
    for names in (("xrt.pha", "src.pha"), ("src1.pha", "src2.pha"), ("src.pha",), ("fake.pha",)):
        if all((folder / name).exists() for name in names):
            return [folder / name for name in names]
    raise FileNotFoundError(folder)


def _responses(folder: Path, commands: dict[str, Any]) -> Any:
    made = []
    for number, name in commands["response"].items():
        area = commands["arf"].get(number)
        made.append((folder / name, folder / area) if area else folder / name)
    if not made:
        return None  # the spectrum names it
    return made if len(made) > 1 else made[0]


def _parameters(
    names: list[str], result: dict[str, Any], spectra: int
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the parameters found under the names of batx, and what is to be set for them.

    Those without an error range were frozen or tied.
    """
    entries = [result["params"][key] for key in sorted(result["params"], key=int)]
    found: dict[str, dict[str, Any]] = {}
    settings: dict[str, Any] = {}
    own = {
        names[i % len(names)]
        for i, entry in enumerate(entries)
        if i >= len(names) and (entry["link"] in (None, "") and "err_lo" in entry)
    }
    for i, entry in enumerate(entries):
        name = names[i % len(names)]
        if name in own:
            name = f"{name}[{i // len(names)}]"
        elif i >= len(names):
            continue
        found[name] = entry
        if "err_lo" not in entry:
            settings[name] = {"value": entry["value"], "frozen": True}
        elif name == "e_cut":
            settings[name] = {"max": 500.0}
    return found, settings


def ranges(entry: dict[str, Any]) -> np.ndarray:
    """Return the ends of the error range of XSPEC, NaN where it found none (by its flags)."""
    ends = np.array([entry["err_lo"], entry["err_hi"]])
    flags = entry["err_flag"]
    missing = [flags[3] == "T" or flags[6] == "T", flags[4] == "T" or flags[7] == "T"]
    return np.where(missing, np.nan, ends)


def unpack_recorded(folder: Path) -> Path:
    """Write the fits that come with the tests as the reference folder has them; return that folder.

    The packaged response, times half the number of detectors (that of the tool is not for one detector),
    stands for that of the tool: no element differs by more than 3e-4 of the largest.
    """
    recorded = json.loads((Path(__file__).parent / "reference/xspec.json").read_text())
    response = batx.response(imx=-0.00117, imy=-0.00061)
    (folder / "inputs").mkdir(parents=True)
    batx.to_fits(
        response.assign(matrix=response["matrix"] * N_DETECTORS / 2),
        folder / "inputs/mw_BAT_alldet_grid_17.rsp",
    )
    for case, entry in recorded.items():
        (folder / case).mkdir()
        (folder / case / "run.xcm").write_text(entry["run.xcm"])
        (folder / case / "results.json").write_text(json.dumps({"blocks": entry["blocks"]}))
        for name, spectrum in entry["spectra"].items():
            columns = [
                fits.Column(
                    key, "I" if key in ("CHANNEL", "QUALITY", "GROUPING") else "D", array=np.array(values)
                )
                for key, values in spectrum["columns"].items()
            ]
            table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
            table.header.update({**spectrum["cards"], "HDUCLASS": "OGIP", "HDUCLAS1": "SPECTRUM"})
            table.writeto(folder / case / name)
    return folder
