"""What came out: a table as JSON and text, a page with the figures, and all products as one tree."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from batx import __version__
from batx.io.open import open_datatree
from batx.io.store import to_netcdf
from batx.met import met_to_utc
from batx.pipelines.bursts.images import LEAST_SNR
from batx.pipelines.bursts.names import one
from batx.pipelines.frame import Work
from batx.pipelines.records import without_nan

__all__ = ["report", "sections"]

#: step and folder of the products that go into the tree
_TREE = (
    ("lightcurves", "lightcurves", "*.lc"),
    ("durations", "lightcurves", "*.lc"),
    ("spectra", "spectra", "*.pha"),
    ("spectra", "responses", "*.rsp"),
    ("planes", "planes", "*.dpi"),
    ("detection", "sources", "*.cat"),
)
_SINGLE = (
    ("durations", "durations", "*_durations.nc"),
    ("quality", "detector_mask", "*_qmap.fits"),
    ("weights", "ray_trace", "*.evaux"),
)
_STYLE = (
    "body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin-bottom:1.5rem}"
    "td{padding:.15rem 1.2rem .15rem 0;vertical-align:top}"
    "td:first-child{color:#456;white-space:nowrap}img{max-width:100%;margin:.5rem 0}h2{margin-top:2rem}"
)


def report(work: Work) -> dict[str, Any]:
    """Write what came out."""
    fetched = work.before["fetch"]
    facts = _facts(work, fetched.facts if fetched.state == "done" else {})
    work.output("result.json").write_text(json.dumps(without_nan(facts), indent=1) + "\n", encoding="utf-8")
    shown = sections(facts)
    work.output("result.txt").write_text(_text(shown), encoding="utf-8")
    work.output("report.html").write_text(_page(facts, shown), encoding="utf-8")
    if fetched.state == "done":
        work.progress("writing the tree of all products")
        to_netcdf(_tree(work, facts), work.output(f"sw{facts['obs_id']}b.nc"))
    return {}


def _facts(work: Work, fetched: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the steps found out."""
    facts: dict[str, Any] = {
        "version": __version__,
        "obs_id": fetched.get("obs_id", ""),
        "object": fetched.get("object", ""),
        "inputs": fetched.get("files", {}),
        "position": fetched.get("position", {}),
        "trigger": dict(fetched.get("trigger", {})),
        "steps": {
            name: {"state": record.state, "reason": record.reason, "notes": record.notes}
            for name, record in work.before.items()
        },
    }
    if "time" in facts["trigger"]:
        trigger = facts["trigger"]
        trigger["utc"] = str(met_to_utc(trigger["time"], utcf=trigger["utcf"]))[:23]
    for name, record in work.before.items():
        if name != "fetch" and record.state == "done":
            facts[name] = record.facts
    return facts


def _tree(work: Work, facts: Mapping[str, Any]) -> xr.DataTree:
    nodes: dict[str, xr.Dataset] = {}
    for step, folder, pattern in _TREE:
        for path in work.paths(step, pattern):
            name = path.name.split("b_", 1)[1].rsplit(".", 1)[0]
            nodes[f"/{folder}/{name}"] = one(work, step, f"*/{path.name}")
    for name, fitted in (work.before["fits"].facts if work.before["fits"].state == "done" else {}).items():
        model = fitted.get("preferred", "limit" if "limit" in fitted else None)
        if model is not None:
            nodes[f"/fits/{name}"] = one(work, "fits", f"*b_{name}_{model}.nc")
    for step, folder, pattern in _SINGLE:
        for path in work.paths(step, pattern):
            nodes[f"/{folder}"] = one(work, step, f"*/{path.name}")
    for step in ("intervals", "durations"):
        for path in work.paths(step, "*.gti"):
            for name, node in open_datatree(path).children.items():
                nodes[f"/gti/{name.lower().removeprefix('gti_')}"] = node.to_dataset().load()
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = {
        "obs_id": facts["obs_id"],
        "object": facts["object"],
        "result": json.dumps(without_nan(facts)),
    }
    return tree


# ---------------------------------------------------------------- for people


def sections(facts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what came out as labels and texts, by title."""
    found = {
        "Burst": dict(_burst(facts)),
        "Spectra": dict(_spectra(facts)),
        "Sources": dict(_sources(facts)),
        "Steps": dict(_steps(facts)),
        "Notes": {
            f"{name} {number}" if number else name: text
            for name, step in facts["steps"].items()
            for number, text in enumerate(step["notes"])
        },
    }
    return {title: rows for title, rows in found.items() if rows}


def _burst(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not facts["obs_id"]:
        return
    yield "observation", f"{facts['obs_id']} {facts['object']}".strip()
    trigger, position = facts["trigger"], facts["position"]
    zero = trigger.get("time")
    yield "trigger", f"MET {zero:.3f}, {trigger['utc']} UTC" if zero is not None else "unknown"
    if position:
        yield "position", f"RA {position['ra']:.5f} Dec {position['dec']:.5f} ({position['from']})"
    else:
        yield "position", "none"
    if "calibrate" in facts:
        held = facts["calibrate"]
        yield "events", f"{held['kept']} of {held['events']} in {held['exposure']:.3f} s of good time"
    if "quality" in facts:
        held = facts["quality"]
        yield (
            "detectors",
            f"{held['good']} good of {held['enabled']} enabled ({held['hot']} hot, {held['cold']} cold)",
        )
    if "weights" in facts:
        held = facts["weights"]
        yield "coding", f"{held['pcode_first']:.3f} at first, {held['pcode_last']:.3f} at the end"
    for name, held in facts.get("images", {}).items():
        if name in ("preslew", "total") and "pcode" in held:
            yield f"coding, {name}", f"{held['pcode']:.3f} in the image"
    for name, pairs in facts.get("intervals", {}).items():
        texts = [f"{_since(start, zero)} to {_since(stop, zero)} s" for start, stop in pairs]
        yield name, "; ".join(texts) or "none"
    held = facts.get("durations", {})
    if held.get("found"):
        for name in ("t90", "t50"):
            yield (
                name.upper(),
                f"{held[name]:.3f} +- {held[f'{name}_err']:.3f} s, {_since(held[f'{name}_start'], zero)} to "
                f"{_since(held[f'{name}_stop'], zero)} s",
            )
        yield "T100", f"{held['t100']:.3f} s, from {_since(held['t100_start'], zero)} s"
        yield "peak", f"{_since(held['peak_start'], zero)} to {_since(held['peak_stop'], zero)} s"
        yield "found in", f"bins of {held['bin']:g} s, {held['n_blocks']:.0f} blocks"
    elif held:
        start, stop = held["spans"]["tot"]
        yield "burst", f"not found in light curves; taken {_since(start, zero)} to {_since(stop, zero)} s"


def _since(time: float, zero: float | None) -> str:
    return f"MET {time:.3f}" if zero is None else f"{time - zero:+.3f}"


def _spectra(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, held in facts.get("fits", {}).items():
        if "limit" in held:
            limit = held["limit"]
            texts = [
                f"< {flux:.3g} (index {index:g})"
                for flux, index in zip(limit["flux"], limit["index"], strict=True)
            ]
            yield name, f"{held['snr']:.1f} sigma; {', '.join(texts)} erg/cm2/s at {limit['sigma']:g} sigma"
        elif "preferred" in held:
            found = held[held["preferred"]]
            parameters = ", ".join(
                f"{label} {value:.4g} {_errors(low, high)}"
                for label, (value, low, high) in found["parameters"].items()
                if label not in ("norm", "pivot")
            )
            yield (
                name,
                f"{held['preferred']}: {parameters}; chi2 {found['statistic']:.1f}/{found['dof']}; flux "
                f"{found['flux'][0]:.4g} erg/cm2/s in 15-150 keV; {held['snr']:.1f} sigma",
            )
    for name in ("totflu", "peakflu"):
        held = facts.get("spectra", {}).get(name)
        if held:
            counts = ", ".join(
                f"{value:.4f} +- {error:.4f}"
                for value, error in zip(held["counts"], held["counts_err"], strict=True)
            )
            yield name, f"{counts} count per detector in 15-25-50-100-350 keV"


def _errors(low: float | None, high: float | None) -> str:
    texts = ["?" if one is None or not math.isfinite(one) else f"{one:.2g}" for one in (low, high)]
    return f"-{texts[0]} +{texts[1]}"


def _sources(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, rows in facts.get("detection", {}).items():
        if name == "refined":
            if rows:
                yield (
                    "refined position",
                    f"RA {rows['ra']:.5f} Dec {rows['dec']:.5f}, 90 % within {rows['radius_90']:.2f} arcmin "
                    f"(formal {rows['radius_formal']:.2f}), {rows['moved']:.2f} arcmin from the one used",
                )
            continue
        texts = [
            f"{row['name'] or 'new'} RA {row['ra']:.4f} Dec {row['dec']:.4f} at {row['snr']:.1f} sigma"
            if row["snr"] >= LEAST_SNR
            else f"{row['name']} not seen ({row['snr']:.1f} sigma)"
            for row in rows
        ]
        yield name, "; ".join(texts) or "nothing"


def _steps(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    told: set[str] = set()
    for name, step in facts["steps"].items():
        if step["state"] != "done":
            cause, _, why = step["reason"].partition(": ")
            repeated = step["state"] != "failed" and why in told
            told |= {step["reason"], why}
            yield name, f"{step['state']}: {cause if repeated else step['reason']}"


def _text(shown: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for title, rows in shown.items():
        lines += [title, "-" * len(title), *(f"{label:<18}{text}" for label, text in rows.items()), ""]
    return "\n".join(lines)


def _page(facts: Mapping[str, Any], shown: Mapping[str, Mapping[str, str]]) -> str:
    title = html.escape(f"{facts['obs_id']} {facts['object']}".strip() or "Events")
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>',
        "<body>",
        f"<h1>{title}</h1>",
    ]
    for name, rows in shown.items():
        parts.append(f"<h2>{html.escape(name)}</h2><table>")
        parts += [
            f"<tr><td>{html.escape(label)}</td><td>{html.escape(text)}</td></tr>"
            for label, text in rows.items()
        ]
        parts.append("</table>")
    figures = facts.get("figures", {}).get("figures", [])
    if figures:
        parts.append("<h2>Figures</h2>")
        parts += [f'<p><img src="figures/{name}.png" alt="{html.escape(name)}"></p>' for name in figures]
    parts.append(f"<p>Made by batx {html.escape(__version__)}.</p></body></html>")
    return "\n".join(parts) + "\n"
