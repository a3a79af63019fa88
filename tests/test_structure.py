"""The shape of the package: direction of imports, size, habits, and what `import batx` costs."""

from __future__ import annotations

import ast
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "batx"

#: from the bottom up; a module imports only from its own layer and from those before it. What is not
#: named is a module of labelled functions, one for each thing that a user names.
LABELLED = "labelled functions"
LAYERS = (
    "errors",
    "optional",
    "compiling",
    "transfer",
    "units",
    "met",
    "instrument",
    "kernels",
    "schema",
    "caldb",
    LABELLED,
    "io",
    "interop",
    "xspec",
    "mosaics",
    "survey_folders",
    "survey_merging",
    "glitch_catalogs",
    "archive",
    "simulate",
    "heasoft",
    "plots",
    "pipelines",
    "accessors",
    "__init__",
    "demo",
    "doctor",
    "commands",
    "cli",
    "__main__",
)
COMMANDS = ("cli", "__main__")
#: layers whose modules see plain arrays only
PLAIN = {"kernels", "instrument"}
LABELS = {"astropy", "dask", "healpy", "matplotlib", "pandas", "xarray"}
#: hidden state, and files that run code when they are read
FORBIDDEN = re.compile(
    r"\bpickle\b|shell=True|os\.chdir|set os\.environ|environ\.(update|setdefault|pop)|putenv|^path$"
)
#: what must not be loaded before it is used
HEAVY = ("astropy", "dask.array", "healpy", "matplotlib", "numba", "scipy", "h5py", "zarr", "iminuit")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer(name: str) -> str:
    """Name of the layer of a module."""
    first = name.split(".")[1] if "." in name else "__init__"
    return first if first in LAYERS else LABELLED


def imported(name: str) -> Iterator[tuple[str, int]]:
    """Every module that a module imports, anywhere in it, with the line; not what only type checkers see.

    The version of the package may be named anywhere: it is there before anything else is imported.
    """
    unseen = {
        inner
        for node in ast.walk(tree(MODULES[name]))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree(MODULES[name])):
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner != "batx.__version__":
                    yield (inner if inner in MODULES else node.module), node.lineno


def graph() -> dict[str, set[str]]:
    """Module to the modules of batx that it imports."""
    return {
        name: {other for other, _ in imported(name) if other in MODULES and other != name} for name in MODULES
    }


def places(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, kind):
                yield name, node


def test_the_package_is_seen():
    assert {"batx", "batx.met", "batx.kernels.gti", "batx.schema"} <= MODULES.keys()


def test_imports_go_down():
    upwards = [
        f"{name} ({layer(name)}) imports {other} ({layer(other)})"
        for name, others in graph().items()
        for other in others
        if LAYERS.index(layer(other)) > LAYERS.index(layer(name))
    ]
    assert not upwards


def test_no_cycle():
    """What imports none of the modules left, or is imported by none, is taken away until nothing changes."""
    left = graph()
    while free := {
        name for name in left if not left[name] or not any(name in others for others in left.values())
    }:
        left = {name: others - free for name, others in left.items() if name not in free}
    assert not left, f"imports in a circle: {left}"


def test_imports_of_the_package_name_modules_that_exist():
    missing = [
        f"{name}:{line} imports {other}"
        for name in MODULES
        for other, line in imported(name)
        if other.split(".")[0] == "batx" and other not in MODULES
    ]
    assert not missing


def test_kernels_and_instrument_see_plain_arrays_only():
    wrong = [
        f"{name}:{line} imports {other}"
        for name in MODULES
        if layer(name) in PLAIN
        for other, line in imported(name)
        if other.split(".")[0] in LABELS
    ]
    assert not wrong


def test_no_blanket_except():
    def names(handler: ast.ExceptHandler) -> list[str]:
        if handler.type is None:
            return ["BaseException"]
        types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        return [ast.unparse(item) for item in types]

    wrong = [
        f"{name}:{node.lineno}"
        for name, node in places(ast.ExceptHandler)
        if isinstance(node, ast.ExceptHandler) and {"Exception", "BaseException"} & set(names(node))
    ]
    assert not wrong


def test_no_print_in_the_library():
    wrong = [
        f"{name}:{node.lineno}"
        for name, node in places(ast.Call)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "print"
        and layer(name) not in ("cli", "__main__")
    ]
    # a module that is run as a command may print in its last lines
    wrong = [place for place in wrong if not in_main_block(*place.split(":"))]
    assert not wrong


def in_main_block(name: str, line: str) -> bool:
    return any(
        isinstance(node, ast.If)
        and "__main__" in ast.unparse(node.test)
        and node.lineno <= int(line) <= (node.end_lineno or node.lineno)
        for node in tree(MODULES[name]).body
    )


def test_no_hidden_state():
    """No pickle, no shell, no change of folder or environment, no path of some machine."""
    wrong = []
    for name, path in MODULES.items():
        for node in ast.walk(tree(path)):
            text = ""
            if isinstance(node, ast.Call):
                text = ast.unparse(node.func)
                if any(word.arg == "shell" and ast.unparse(word.value) == "True" for word in node.keywords):
                    text = "shell=True"
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                text = ast.unparse(node)
            elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)):
                targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
                text = " ".join(f"set {ast.unparse(target)}" for target in targets)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = "path" if re.match(r"/(home|opt|root|tmp|usr|work|Users)/", node.value) else ""
            if FORBIDDEN.search(text):
                wrong.append(f"{name}:{getattr(node, 'lineno', '?')}: {text}")
    assert not wrong


def public_functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions of modules and methods of classes whose names do not begin with an underscore."""

    def walk(
        owner: str, body: list[ast.stmt]
    ) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
                yield f"{owner}.{node.name}", node
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from walk(f"{owner}.{node.name}", node.body)

    for name, path in MODULES.items():
        yield from walk(name, tree(path).body)


def test_public_functions_are_documented():
    missing = [name for name, node in public_functions() if not ast.get_docstring(node)]
    missing += [
        name for name, path in MODULES.items() if tree(path).body and not ast.get_docstring(tree(path))
    ]
    missing += [
        f"{name}.{node.name}"
        for name, node in places(ast.ClassDef)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not missing


def test_public_functions_are_typed():
    untyped = []
    for name, node in public_functions():
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
        bare = [arg.arg for arg in arguments if arg.annotation is None and arg.arg not in ("self", "cls")]
        if bare or node.returns is None:
            untyped.append(f"{name}: {bare or 'return'}")
    assert not untyped


def test_modules_and_classes_are_of_readable_size():
    long = [
        f"{name}: {lines} lines"
        for name, path in MODULES.items()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 800
    ]
    long += [
        f"{name}.{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for name, node in places(ast.ClassDef)
        if isinstance(node, ast.ClassDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= 300
    ]
    assert not long


# ---------------------------------------------------------------- cost of the import

MEASURE = """
import json, sys, time
import xarray
before = set(sys.modules)
start = time.perf_counter()
import {module}
cost = time.perf_counter() - start
print(json.dumps([cost, sorted(set(sys.modules) - before)]))
"""


def measure(module: str) -> tuple[float, list[str]]:
    """Seconds that an import takes in a fresh interpreter after xarray, and the modules that it loads."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURE.format(module=module)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    cost, loaded = json.loads(run.stdout)
    return cost, loaded


def heavy(loaded: list[str]) -> list[str]:
    return [name for name in loaded if any(name == top or name.startswith(f"{top}.") for top in HEAVY)]


def test_import_costs_at_most_50_ms_over_xarray():
    measure("batx")  # byte code is compiled once
    cost = statistics.median(measure("batx")[0] for _ in range(7))
    assert cost <= 0.050, f"import batx costs {1e3 * cost:.0f} ms over import xarray"


@pytest.mark.parametrize("module", [name for name in ("batx", "batx.io.engine") if name in MODULES])
def test_import_loads_nothing_heavy(module: str):
    """The engine too: xarray imports it whenever it looks for one, also for other people's files."""
    assert not heavy(measure(module)[1])
