"""What a run of a tool made: whether it is what was promised, where it belongs, and what names are in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batx.heasoft.backends import Call
from batx.heasoft.checks import fault_of, matching
from batx.heasoft.naming import restore_names
from batx.heasoft.planning import Plan
from batx.io.source import starts_like_fits

__all__ = ["Harvest"]

_Pair = tuple[Path, Path]


class Harvest:
    """The files of a run, each in the private folder and at its place.

    Attributes
    ----------
    outputs
        Output parameter to what was made, and where it belongs.
    products
        Name to the files that the tool named itself; in an output folder, or for the folder `Plan.into`.
    """

    def __init__(self, call: Call, plan: Plan) -> None:
        self.call, self.plan = call, plan
        self.outputs = {
            name: (call.folder / place, plan.targets[name]) for name, place in call.outputs.items()
        }
        own = {made for made, _ in self.outputs.values()}
        self.products = {
            name: [
                (one, self._place(one))
                for one in matching(call.folder, self._patterns(name))
                if one not in own
            ]
            for name in call.task.products
        }

    def _found(self, product: str) -> list[_Pair]:
        """Return the files of a product; an output that fits its pattern is none."""
        own = {made for made, _ in self.outputs.values()}
        found = matching(self.call.folder, self._patterns(product))
        return [(path, self._place(path)) for path in found if path not in own]

    def _patterns(self, product: str) -> tuple[str, ...]:
        """Return patterns such as ``outdir/*.img`` with the name of the folder in place of its parameter."""
        placed = []
        for pattern in self.call.task.products[product]:
            head, slash, rest = pattern.partition("/")
            placed.append(f"{self.call.outputs.get(head, head)}/{rest}" if slash else pattern)
        return tuple(placed)

    def _place(self, made: Path) -> Path:
        """Return where a product belongs: with the output folder that it is in, or in `Plan.into`."""
        for folder, target in self.outputs.values():
            if folder in made.parents:
                return target / made.relative_to(folder)
        assert self.plan.into is not None
        return self.plan.into / made.name

    @property
    def pairs(self) -> list[_Pair]:
        """What is to be moved: outputs, and products that are not in one of them."""
        whole = list(self.outputs.values())
        folders = {folder for folder, _ in whole}
        single = [pair for pairs in self.products.values() for pair in pairs]
        return list(dict.fromkeys([*whole, *(one for one in single if not folders & {*one[0].parents})]))

    def __iter__(self) -> Iterator[tuple[str, list[_Pair]]]:
        """Give the name of each output and product, with its files."""
        yield from ((name, [pair]) for name, pair in self.outputs.items())
        yield from self.products.items()

    def fault(self) -> str:
        """Return what is missing or wrong, empty if nothing is."""
        promised = self.call.task.outputs
        for name, (made, _) in self.outputs.items():
            kind = promised.get(name, "folder" if made.is_dir() else "fits")
            if fault := fault_of(made, kind):
                return f"ended with return code 0, but its output {name} ({made.name}) {fault}"
        for name, pairs in self.products.items():
            if not pairs:
                wanted = " or ".join(self._patterns(name))
                return f"ended with return code 0, but made no {name} ({wanted})"
            for path, _ in pairs:
                if fault := fault_of(path, "fits" if starts_like_fits(path) else "any"):
                    return f"ended with return code 0, but {path.name} {fault}"
        return ""

    def restore_names(self) -> None:
        """Put the names of files where the tool wrote those that they have in the private folder.

        A tool that is not given full names, and does not write down names, is not looked at.
        """
        call, task = self.call, self.call.task
        if not (task.absolute or task.named):
            return
        seen = {call.folder / place: path for place, path in call.originals.items()} | dict(self.pairs)
        real = call.folder.resolve()
        names = {str(place): own for place, own in seen.items()}
        names |= {str(real / place.relative_to(call.folder)): own for place, own in seen.items()}
        named = {path for name in task.named for path in self.plan.sources.get(name, ())}
        names |= {place: path for place, path in call.originals.items() if path in named}
        restore_names([made for made, _ in self.pairs], names)
