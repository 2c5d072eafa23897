"""Records as Markdown: the tables of the README and the book, which are generated from recorded rows and never typed.

Each machine is named by its CPU. Ours is the algorithm that the registry chooses; what it loses is shown like what it wins.
"""

from __future__ import annotations

from collections.abc import Iterable

from .contest import OURS
from .report import Key, by_task, duration, find, gain, gains, geomean, rivals

LIBRARY = {"torch": "PyTorch", "jax": "JAX", "onnxruntime": "ONNX Runtime", "mygrad": "MyGrad"}


SUITES = ("conv", "steps", "pool", "startup")


def markdown(records: dict[str, dict], suites: Iterable[str] = SUITES) -> str:
    """The tables of one machine, from its records by suite: of these suites (or "ladder"), those that there are."""
    parts = []
    shown = {"conv": (_operations, _layers), "steps": (_each, _parts), "pool": (_operations,), "startup": (_each,),
             "ladder": (_rungs,)}
    for suite in suites:
        if suite in records:
            parts += [_heading(suite, records[suite]), *filter(None, (table(records[suite]) for table in shown[suite]))]
    return "\n\n".join(parts)


def _heading(suite: str, record: dict) -> str:
    what = {"conv": "Layers, the three maps", "steps": "Training steps: forward, loss, backward, update",
            "pool": "Pooling, forward and backward", "startup": "From the start of Python",
            "ladder": "Every algorithm"}[suite]
    machine, versions = record["machine"], record["libraries"]
    kinds = dict.fromkeys((row["dtype"], row["threads"]) for row in _timed(record) if "flops" in row)
    peaks = "".join(f", peak of {dtype} on {threads} threads {record['peaks'][f'{dtype}@{threads}'] / 1e9:.0f} GFLOP/s"
                    for dtype, threads in kinds)
    others = ", ".join(f"{LIBRARY[name]} {versions[name].partition('+')[0]}" for name in versions if name != OURS)
    beside = f"; beside {others}" if others else ""
    return f"**{what}.** {machine['cpu']}, {machine['cores']} cores{peaks}{beside}; {record['when'].split()[0]}."


def _operations(record: dict) -> str:
    """A row for each operation: the geometric mean over its cases, and the least, against each rival."""
    groups: dict[Key, dict[Key, list[dict]]] = {}
    for key, rows in by_task(_timed(record)).items():
        groups.setdefault(key._replace(case=""), {})[key] = rows
    names = [name for name in ("im2col", *rivals(record["rows"]))
             if any(_gains(tasks, name) for tasks in groups.values())]
    flops = any("flops" in row for row in record["rows"])
    head = ["operation", "threads", "cases", *(f"x {LIBRARY.get(name, name)} (least, at)" for name in names),
            *(["share of peak"] if flops else [])]
    lines = []
    for title, tasks in groups.items():
        cells = [f"`{title.op}`" + f" {title.dtype}" * (title.dtype != "float32"), str(title.threads), str(len(tasks))]
        for name in names:
            found = _gains(tasks, name)
            worst = min(found, key=lambda case: found[case]) if found else ""
            cells.append(f"{_bold(geomean(found.values()))} ({found[worst]:.2f}, {worst})" if found else "")
        if flops:
            peak = record["peaks"][f"{title.dtype}@{title.threads}"]
            shares = [row["flops"] / row["median"] / peak for rows in tasks.values() if (row := _chosen(rows))]
            cells.append(f"{geomean(shares):.0%}")
        lines.append(cells)
    return _table(head, lines)


def _layers(record: dict) -> str:
    """A row for each layer: the time of the three maps, and how many times as long PyTorch takes."""
    tasks = by_task(_timed(record))
    ops = list(dict.fromkeys(key.op for key in tasks))
    rest = dict.fromkeys(key._replace(op="") for key in tasks)
    lines = []
    for key in rest:
        cells = [key.case + f" {key.dtype}" * (key.dtype != "float32"), str(key.threads)]
        for op in ops:
            rows = tasks.get(key._replace(op=op), [])
            ours = _chosen(rows)
            ratio = gain(ours, rows, "torch") if ours else None
            cells.append((duration(ours["median"]) if ours else "") + (f" ({_bold(ratio)})" if ratio else ""))
        lines.append(cells)
    return _table(["layer", "threads", *(f"`{op}` (x PyTorch)" for op in ops)], lines)


def _rungs(record: dict) -> str:
    """For each layer a row for every algorithm and library, the slowest first: the times of its maps, the least in bold."""
    tasks = by_task(_timed(record))
    ops = list(dict.fromkeys(key.op for key in tasks))
    parts = []
    for key in dict.fromkeys(key._replace(op="") for key in tasks):
        times = {op: {_name(row): row["median"] for row in tasks.get(key._replace(op=op), [])} for op in ops}
        names = sorted({name for column in times.values() for name in column}, reverse=True,
                       key=lambda name: geomean(column[name] for column in times.values() if name in column))
        lines = [[name, *(_least(times[op], name) for op in ops)] for name in names]
        parts.append(_table([f"{key.case}, {key.threads} threads", *(f"`{op}`" for op in ops)], lines))
    return "\n\n".join(parts)


def _name(row: dict) -> str:
    return f"`{row['algorithm']}`" if row["library"] == OURS else LIBRARY[row["library"]]


def _least(times: dict[str, float], name: str) -> str:
    """A time, in bold where none is less; nothing where there is none."""
    if name not in times:
        return ""
    text = duration(times[name])
    return f"**{text}**" if times[name] == min(times.values()) else text


def _bold(ratio: float) -> str:
    """A ratio, in bold where it is a gain."""
    return f"**{ratio:.2f}**" if ratio >= 1 else f"{ratio:.2f}"


def _each(record: dict) -> str:
    """A row for each case: our time, each other library's, and the ratio."""
    tasks = by_task(_timed(record))
    names = rivals(record["rows"])
    flops = any("flops" in row for row in record["rows"])
    head = ["", "threads", "tinyconv", *(f"{LIBRARY[name]} (times as long)" for name in names),
            *(["share of peak"] if flops else [])]
    lines = []
    for key, rows in tasks.items():
        ours = _chosen(rows)
        if ours:
            cells = [key.case, str(key.threads), duration(ours["median"])]
            for name in names:
                other, ratio = find(rows, name), gain(ours, rows, name)
                cells.append(f"{duration(other['median'])} ({_bold(ratio)})" if other and ratio else "")
            if flops:
                cells.append(f"{ours['flops'] / ours['median'] / record['peaks'][f'{key.dtype}@{key.threads}']:.0%}")
            lines.append(cells)
    means = [geomean(found) if (found := gains(tasks, name)) else None for name in names]
    if len(lines) > 1 and record["suite"] == "steps":
        lines.append(["geometric mean", "", "", *("" if mean is None else f"({_bold(mean)})" for mean in means),
                      *([""] if flops else [])])
    return _table(head, lines)


PARTS = {"convolutions": ("conv",), "products": ("linear", "matmul"), "pooling": ("max_pool", "avg_pool", "lp_pool", "pool_"),
         "normalisation": ("norm",), "between kernels": ("between",)}  # by how the names of their operations begin


def _parts(record: dict) -> str:
    """A row for each training step: where its time goes."""
    lines = []
    for key, rows in by_task(_timed(record)).items():
        if (ours := _chosen(rows)) and "parts" in ours:
            parts, whole = ours["parts"], sum(ours["parts"].values())
            shares = [sum(parts[op] for op in parts if op.startswith(names)) / whole for names in PARTS.values()]
            lines.append([key.case, str(key.threads), *(f"{share:.0%}" for share in [*shares, 1 - sum(shares)])])
    return _table(["where it goes", "threads", *PARTS, "the rest"], lines)


def _timed(record: dict) -> Iterable[dict]:
    return (row for row in record["rows"] if "median" in row)


def _chosen(rows: list[dict]) -> dict | None:
    return next((row for row in rows if row["chosen"] and row["library"] == OURS), None)


def _gains(tasks: dict[Key, list[dict]], rival: str) -> dict[str, float]:
    """By case, how many times faster the chosen algorithm is than a rival."""
    found = {key.case: gain(row, rows, rival) for key, rows in tasks.items() if (row := _chosen(rows))}
    return {case: value for case, value in found.items() if value is not None}


def _table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table, or nothing where there are no lines."""
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows) if lines else ""
