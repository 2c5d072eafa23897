"""The house: each room imports only what stands below it, and importing the package stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tinyconv

HOUSE = Path(tinyconv.__file__).parent

# each room, and the rooms that it may import from; DESIGN's table, with what each room needs spelled out
KERNELS = {"blas", "dims", "mode", "memory", "registry", "kernels"}
TAPE = {"mode", "tape", "tensor", "op"}
OPS = {"blas", "device", "dims", "registry", "forms", "random", "ops"} | TAPE
NETS = OPS | {"autograd", "nn", "optim"}
MAY_IMPORT = {
    "dims": set(),
    "arithmetic": {"dims"},
    "cases": {"dims"},
    "mode": set(),
    "registry": {"dims", "mode"},
    "tuning": {"dims", "registry", "kernels"},
    "random": set(),
    "blas": set(),
    "device": {"kernels"},
    "memory": set(),
    "names": set(),
    "kernels": KERNELS,
    "tape": {"mode"},
    "tensor": {"device", "mode", "tape"},
    "op": {"device", "mode", "tape", "tensor"},
    "forms": TAPE,
    "autograd": TAPE,
    "filters": {"tensor"},
    "ops": OPS,
    "nn": NETS - {"optim"} | {"arithmetic"},
    "optim": NETS - {"nn"} | {"kernels"},
    "data": NETS | {"names", "data"},
    "models": NETS | {"names", "data", "models"},
    "train": NETS | {"names", "cases", "kernels", "data", "models", "train"},
    "plot": NETS | {"arithmetic", "names", "cases", "kernels", "data", "models", "train", "plot"},
    "explore": {"data"},
    "tracing": {"registry", "data"} | TAPE,
    "bench": NETS | {"names", "cases", "kernels", "memory", "bench"},
    "reproduce": NETS | {"names", "cases", "kernels", "data", "models", "train", "bench", "reproduce"},
    "cli": NETS | {"arithmetic", "names", "cases", "kernels", "data", "models", "train", "plot", "explore", "tracing", "bench",
                   "reproduce", "cli"},
    "__main__": {"cli"},
}
FILES = sorted(p for p in HOUSE.rglob("*.py") if p != HOUSE / "__init__.py")


def room_of(path):
    first = path.relative_to(HOUSE).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path):
    """The rooms that a file imports from, wherever in it the import stands (not under `if TYPE_CHECKING`, which never runs)."""
    package = path.relative_to(HOUSE.parent).with_suffix("").parts[:-1]
    for node in running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            names = [(*module, alias.name) for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "tinyconv" and name[1:] != ("__version__",):
                yield name[1] if len(name) > 1 else "tinyconv", node.lineno


def running(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from running(child)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_no_import_points_up(path):
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may import from"
    up = [f"line {line}: {other}" for other, line in imported_rooms(path) if other not in MAY_IMPORT[room] and other != room]
    assert not up, f"{path.relative_to(HOUSE)} may import from {sorted(MAY_IMPORT[room])} only, and imports {up}"


def test_the_table_has_no_circles():
    below = {room: MAY_IMPORT[room] - {room} for room in MAY_IMPORT}
    while below:
        free = [room for room, others in below.items() if not others & set(below)]
        assert free, f"these import each other: {sorted(below)}"
        for room in free:
            del below[room]


def test_an_import_that_points_up_is_seen(tmp_path, monkeypatch):
    house = tmp_path / "tinyconv"
    (house / "ops").mkdir(parents=True)
    text = ("from __future__ import annotations\nimport os\nfrom typing import TYPE_CHECKING\nfrom ..nn import Linear\n"
            "from .. import cases\nfrom ..tensor import Op\nfrom . import shape\nimport tinyconv.train.loop\n"
            "if TYPE_CHECKING:\n    from ..cli import main\ndef f():\n    from ..optim import SGD\n")
    (house / "ops" / "bad.py").write_text(text)
    monkeypatch.setitem(globals(), "HOUSE", house)
    found = dict(imported_rooms(house / "ops" / "bad.py"))
    assert found == {"nn": 4, "cases": 5, "tensor": 6, "ops": 7, "train": 8, "optim": 12}
    with pytest.raises(AssertionError, match=r"line 4: nn.*line 5: cases.*line 8: train.*line 12: optim"):
        test_no_import_points_up(house / "ops" / "bad.py")


def test_import_is_cheap():
    """Toolchains, plotting and the command line load on first use."""
    heavy = ("numba", "llvmlite", "scipy", "matplotlib", "typer", "rich", "pooch", "safetensors", "torch", "cupy", "PIL")
    code = f"import sys, tinyconv; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOUSE.parent, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
