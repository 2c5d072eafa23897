"""A record as pictures and as one HTML file that needs nothing else: the roofline, the gains, the ladder, and every row.

Drawn by matplotlib (extra `plot`), as PNG for a README and as SVG inside the page.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from . import report
from .contest import OURS

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#f0e442", "#7f3c8d",
           "#8c564b", "#9acd32", "#b2182b", "#2e4a62", "#f4a6a6")  # more than there are algorithms and libraries

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 2rem } td, th { padding: .15rem .7rem; text-align: right }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left } tr:nth-child(even) td { background: #f5f5f5 }
th, td { white-space: nowrap } .chosen { font-weight: bold } .loss { color: #b00020 } p { color: #555 }
figure { margin: 1rem 0; overflow-x: auto } svg { max-width: 100%; min-width: 34rem; height: auto }
"""


def draw(record: dict, folder: Path, stem: str) -> list[Path]:
    """Write FOLDER/STEM-FIGURE.png for each figure the record has rows for, and FOLDER/STEM.html; the files written.

    Raises: ImportError where matplotlib is missing.
    """
    written, pictures = [], []
    for name, figure in figures(record):
        path = folder / f"{stem}-{name}.png"
        figure.savefig(path, dpi=120, bbox_inches="tight")
        text = io.StringIO()
        figure.savefig(text, format="svg", bbox_inches="tight")
        pictures.append(text.getvalue()[text.getvalue().index("<svg"):])
        written.append(path)
    path = folder / f"{stem}.html"
    path.write_text(_html(record, pictures), encoding="utf-8")
    return [*written, path]


def figures(record: dict) -> list[tuple[str, Any]]:
    """The figures of a record, by name: those of its first dtype and its largest number of threads."""
    from matplotlib.figure import Figure

    timed = [row for row in record["rows"] if "median" in row]
    dtype, threads = next((row["dtype"] for row in timed), ""), max((row["threads"] for row in timed), default=0)
    tasks = report.by_task(row for row in timed if (row["dtype"], row["threads"]) == (dtype, threads))
    found: list[tuple[str, Any]] = []
    kinds = (("gains", _has_rivals, _gains), ("roofline", _has_flops, _roofline), ("ladder", _ladders, _bars),
             ("growth", _series, _growth))
    for name, holds, plot in kinds:
        if holds(tasks):
            figure = Figure(figsize=(9, 5), layout="constrained")
            plot(figure, tasks, record)
            machine = record["machine"]
            figure.suptitle(f"{record['suite']}: {machine['cpu']}, {machine['cores']} cores; {dtype}, {threads} "
                            f"thread{'s' * (threads > 1)}", fontsize=9)
            found.append((name, figure))
    return found


Tasks = dict[report.Key, list[dict]]


def _has_rivals(tasks: Tasks) -> bool:
    return any(report.gains(tasks, rival) for rival in report.rivals(row for rows in tasks.values() for row in rows))


def _has_flops(tasks: Tasks) -> bool:
    return any("flops" in row and "bytes" in row for rows in tasks.values() for row in rows)


def _ladders(tasks: Tasks) -> Tasks:
    """The tasks that more than two of our algorithms took part in."""
    return {key: rows for key, rows in tasks.items()
            if len({row["algorithm"] for row in rows if row["library"] == OURS and "flops" in row}) > 2}


def _series(tasks: Tasks) -> list[tuple[str, str]]:
    """The (layer, size) whose growth was timed."""
    found = dict.fromkeys(key.case.partition("=")[0] for key in tasks if key.suite == "growth" and "=" in key.case)
    return [(name.partition(":")[0], name.partition(":")[2]) for name in found]


def _growth(figure: Any, tasks: Tasks, record: dict) -> None:
    """Lines: the time of each map as one size grows, a panel for each; ours drawn through, the others dashed."""
    series = _series(tasks)
    axes = figure.subplots(1, len(series), squeeze=False)[0]
    for ax, (base, size) in zip(axes, series):
        lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for key, rows in tasks.items():
            if key.suite == "growth" and key.case.startswith(f"{base}:{size}="):
                for row in rows:
                    name = "chosen" if row["chosen"] and row["library"] == OURS else row["algorithm"] or row["library"]
                    lines.setdefault((key.op, name), []).append((int(key.case.partition("=")[2]), row["median"] * 1e3))
        names = list(dict.fromkeys(name for _, name in lines))
        for (op, name), points in lines.items():
            style = ("-", "--", ":")[min(names.index(name), 2)]
            color = PALETTE[list(dict.fromkeys(o for o, _ in lines)).index(op)]
            ax.plot(*zip(*sorted(points)), style, color=color, marker=".", label=f"{op} {name}")
        ax.set(xscale="log", yscale="log", title=base, xlabel=size, ylabel="ms" if ax is axes[0] else "")
        sizes = sorted({at for points in lines.values() for at, _ in points})
        ax.set_xticks(sizes, [str(at) for at in sizes])
        ax.set_xticks([], minor=True)
    _legend(figure, axes[0])


def _gains(figure: Any, tasks: Tasks, record: dict) -> None:
    """Bars: how many times faster the chosen algorithm is than each rival, a panel for each operation."""
    panels = _panels(figure, tasks)
    foreign = list(dict.fromkeys(name for rows in tasks.values() for name in report.rivals(rows)))
    for op, (ax, mine) in panels.items():
        _grouped_bars(ax, list(mine), foreign, partial(_chosen_gain, mine), start=1.0)
        ax.axvline(1, color="black", linewidth=0.8)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set(title=op, xlabel="times faster than " + (foreign[0] if len(foreign) == 1 else "the others"))
    first = next(iter(panels.values()))[0]
    low, high = first.get_xlim()
    first.set_xlim(min(low, 0.98), max(high, 2.05))  # two ticks at least, 1 and 2
    _arrange(figure, panels, 0.2 * len(foreign))
    if len(foreign) > 1:
        _legend(figure, first)


def _chosen_gain(tasks: Tasks, key: report.Key, rival: str) -> float:
    rows = tasks[key]
    chosen = next((row for row in rows if row["chosen"] and row["library"] == OURS), None)
    return (chosen and report.gain(chosen, rows, rival)) or float("nan")


def _bars(figure: Any, tasks: Tasks, record: dict) -> None:
    """Bars: GFLOP/s of every algorithm on every case, on a logarithmic scale, a panel for each map."""
    tasks = _ladders(tasks)
    names = _slowest_first(tasks)
    panels = _panels(figure, tasks)
    for op, (ax, mine) in panels.items():
        _grouped_bars(ax, list(mine), names, partial(_speed, mine))
        ax.set(title=op, xlabel="GFLOP/s", xscale="log")
    _arrange(figure, panels, 0.16 * len(names))
    _legend(figure, next(iter(panels.values()))[0])


def _slowest_first(tasks: Tasks) -> list[str]:
    """Algorithms and libraries by their mean speed."""
    names = dict.fromkeys(row["algorithm"] or row["library"] for rows in tasks.values() for row in rows)
    speeds = {name: [_speed(tasks, key, name) for key in tasks] for name in names}
    return sorted(names, key=lambda name: report.geomean(v for v in speeds[name] if v == v))


def _legend(figure: Any, ax: Any) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=min(len(labels), 8))


def _speed(tasks: Tasks, key: report.Key, name: str) -> float:
    found = (row for row in tasks[key] if name == (row["algorithm"] or row["library"]))
    return next((row["flops"] / row["median"] / 1e9 for row in found), float("nan"))


def _grouped_bars(ax: Any, keys: list[report.Key], names: list[str], value: Callable[[report.Key, str], float],
                  start: float = 0.0) -> None:
    step = 0.8 / max(len(names), 1)
    for n, name in enumerate(names):
        at = np.arange(len(keys)) - 0.4 + (n + 0.5) * step
        ends = np.array([value(key, name) for key in keys])
        ax.barh(at, ends - start, step, left=start, color=PALETTE[n % len(PALETTE)], label=name)
    ax.set_yticks(range(len(keys)), [key.case for key in keys], fontsize=7)
    ax.invert_yaxis()
    ax.tick_params(axis="x", labelsize=7)


Panels = dict[str, tuple[Any, Tasks]]
COLUMNS = 3


def _panels(figure: Any, tasks: Tasks) -> Panels:
    """A panel for each operation, with its tasks, COLUMNS beside each other; all share the scale below them."""
    ops = list(dict.fromkeys(key.op for key in tasks))
    columns = min(len(ops), COLUMNS)
    axes = figure.subplots(-(-len(ops) // columns), columns, sharex=True, squeeze=False).ravel()
    for ax in axes[len(ops):]:
        ax.remove()
    return {op: (ax, {key: rows for key, rows in tasks.items() if key.op == op}) for op, ax in zip(ops, axes)}


def _arrange(figure: Any, panels: Panels, height: float) -> None:
    """Give a case so many inches; names of cases stand beside a panel unless they are those of its left neighbour."""
    every = [(ax, [key.case for key in tasks]) for ax, tasks in panels.values()]
    for n, (ax, names) in enumerate(every):
        ax.tick_params(axis="x", labelbottom=True)
        ax.tick_params(axis="y", labelleft=n % COLUMNS == 0 or names != every[n - 1][1])
    most = [max(len(names) for _, names in every[n:n + COLUMNS]) for n in range(0, len(every), COLUMNS)]
    figure.set_size_inches(9, 0.8 + sum(1.0 + max(height, 0.2) * count for count in most))


def _roofline(figure: Any, tasks: Tasks, record: dict) -> None:
    """Points: the speed of each contestant over the flops it does for each byte it must move, under the machine's roof."""
    ax = figure.subplots()
    dtype, threads = next((key.dtype, key.threads) for key in tasks)
    peak, moved = record["peaks"][f"{dtype}@{threads}"] / 1e9, record["bandwidth"][str(threads)] / 1e9
    points: dict[str, list[tuple[float, float]]] = {}
    for rows in tasks.values():
        for row in rows:
            if "flops" in row and "bytes" in row:
                label = "chosen" if row["chosen"] and row["library"] == OURS else row["algorithm"] or row["library"]
                points.setdefault(label, []).append((row["flops"] / row["bytes"], row["flops"] / row["median"] / 1e9))
    for n, (label, found) in enumerate(points.items()):
        ax.scatter(*zip(*found), s=14, color=PALETTE[n % len(PALETTE)], label=label, zorder=3 if label == "chosen" else 2)
    intensities = [x for found in points.values() for x, _ in found]
    low, high = min(intensities), max(intensities)
    ridge = peak / moved  # left of it bandwidth binds, right of it the multiply-adds
    reach = np.geomspace(min(low, ridge / 4), max(high, 2 * ridge), 100)
    ax.plot(reach, np.minimum(peak, moved * reach), color="black", linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="flops for each byte of x, w and y", ylabel="GFLOP/s of the direct sum",
           title=f"peak {peak:.0f} GFLOP/s, bandwidth {moved:.0f} GB/s")
    ax.legend(fontsize=7)


# -- the page ------------------------------------------------------------------------------------------------------


def _html(record: dict, pictures: list[str]) -> str:
    """The whole page."""
    title = f"tinyconv bench: {escape(record['suite'])}"
    parts = ["<!doctype html><html lang=en><meta charset=utf-8>",
             "<meta name=viewport content='width=device-width, initial-scale=1'>",
             f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"]
    parts += [f"<p>{escape(line)}</p>" for line in report.lines(record)]
    parts += [f"<figure>{picture}</figure>" for picture in pictures]
    if any("flops" in row for row in record["rows"]):
        parts.append("<p>GFLOP/s count the flops of the direct sum, whatever an algorithm does: one that saves some, as "
                     "Winograd does, may exceed the peak.</p>")
    for grid in report.grids(record, wide=True):
        heads = "".join(f"<th>{escape(head)}</th>" for head in grid.heads)
        parts.append(f"<h2>{escape(grid.title)}</h2><figure><table><tr>{heads}</tr>")
        for line in grid.lines:
            marks = " ".join(name for name, on in (("chosen", line.chosen), ("loss", line.loses)) if on)
            parts.append(f"<tr class='{marks}'>" + "".join(f"<td>{escape(cell)}</td>" for cell in line.cells) + "</tr>")
        parts.append("</table></figure>")
    parts += [f"<p>left out: {escape(row['op'])} {escape(row['case'])} by {escape(row['library'])} {escape(row['algorithm'])}: "
              f"{escape(row['refused'])}</p>" for row in record["rows"] if "refused" in row]
    return "\n".join(parts) + "\n"
