"""Every Python block of the documentation runs: page by page, in order, in an empty folder."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import batx

TOP = Path(__file__).resolve().parent.parent
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:python|\{code-cell\} \S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str]]:
    """Python blocks of a page, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)) + 1, found[1]) for found in BLOCK.finditer(text)]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(TOP))
)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {"__name__": "__main__"}
    for line, block in blocks(page):
        # the empty lines put the line numbers of the page into tracebacks
        exec(compile("\n" * (line - 1) + block, str(page), "exec"), names)
    plt.close("all")


def test_links_between_pages_lead_somewhere():
    broken = [
        f"{page.relative_to(TOP)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken


def is_there(name: str) -> bool:
    """Whether ``batx.`` and this name leads to something, modules imported on the way."""
    place, found = "batx", batx
    for part in name.split("."):
        place = f"{place}.{part}"
        if not hasattr(found, part) and not importlib.util.find_spec(place):
            return False
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(place)
    return True


def test_names_in_the_text_are_there():
    entry_points = {"backends"}  # a group of these is called batx.backends
    unknown = [
        f"{page.relative_to(TOP)}: batx.{name}"
        for page in PAGES
        for name in re.findall(r"`batx\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)", page.read_text(encoding="utf-8"))
        if name not in entry_points and not is_there(name)
    ]
    assert not unknown


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("functions.md", [name for name in batx._PUBLIC if name[0].islower()]),
        ("errors.md", batx.errors.__all__),
    ],
)
def test_reference_names_everything(page: str, names: list[str]):
    text = (TOP / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text and f"`batx.{name}`" not in text] == []
