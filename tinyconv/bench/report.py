"""Rows as tables: the figures of each task beside im2col and the other libraries, and geometric means over the tasks."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log
from typing import Any

from rich.table import Table

from .contest import OURS, ratio

Key = tuple[str, str, str, int]


def by_task(rows: Iterable[dict]) -> dict[Key, list[dict]]:
    """The rows of each (op, case, dtype, threads), in their order."""
    tasks: dict[Key, list[dict]] = {}
    for row in rows:
        tasks.setdefault((row["op"], row["case"], row["dtype"], row["threads"]), []).append(row)
    return tasks


def find(rows: Iterable[dict], library: str, algorithm: str | None = None) -> dict | None:
    """The timed row of a library (and algorithm) among those of one task."""
    for row in rows:
        if row["library"] == library and "median" in row and algorithm in (None, row["algorithm"]):
            return row
    return None


def times(row: dict, other: dict | None) -> float | None:
    """How many times faster `row` is than `other`."""
    return None if other is None or other is row else ratio(other, row)


def geomean(values: Iterable[float | None]) -> float | None:
    """The geometric mean of the values there are."""
    have = [v for v in values if v]
    return exp(sum(map(log, have)) / len(have)) if have else None


def duration(seconds: float) -> str:
    """Three digits and a unit.

    >>> duration(0.00123456)
    '1.23 ms'
    """
    for unit, size in (("s ", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size or unit == "us":
            value = seconds / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}".rstrip()
    raise AssertionError


def spread(row: dict) -> float:
    """Half the distance between the quartiles, as a share of the median."""
    return (row["high"] - row["low"]) / 2 / row["median"]


def tables(record: dict) -> list[Table]:
    """One table for each operation, dtype and number of threads."""
    groups: dict[tuple, dict[Key, list[dict]]] = {}
    for key, rows in by_task(record["rows"]).items():
        groups.setdefault((key[0], *key[2:]), {})[key] = rows
    return [_table(record, title, tasks) for title, tasks in groups.items()]


def _table(record: dict, title: tuple, tasks: dict[Key, list[dict]]) -> Table:
    op, dtype, threads = title
    peak = record["peaks"].get(f"{dtype}@{threads}")
    foreign = sorted({row["library"] for rows in tasks.values() for row in rows} - {OURS})
    flops = any("flops" in row for rows in tasks.values() for row in rows)
    patches = any(find(rows, OURS, "im2col") for rows in tasks.values())
    table = Table(title=f"{op}, {dtype}, {threads} thread{'s' * (threads > 1)}", title_justify="left", box=None, pad_edge=False)
    table.add_column("case", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for head in ["median", "+-", *(["GFLOP/s", "peak"] if flops else []), *(["x im2col"] if patches else []),
                 *(f"x {name}" for name in foreign)]:
        table.add_column(head, justify="right", no_wrap=True)
    gains: dict[str, list[float | None]] = {name: [] for name in ["im2col", *foreign]}
    for key, rows in tasks.items():
        im2col = find(rows, OURS, "im2col")
        fastest = min((r["median"] for r in rows if "median" in r), default=0.0)
        for row in rows:
            by = row["algorithm"] or row["library"]
            if "refused" in row:
                continue
            gain = {"im2col": times(row, im2col), **{name: times(row, find(rows, name)) for name in foreign}}
            if row["chosen"]:
                for name, value in gain.items():
                    gains[name].append(value)
            cells = [key[1] if row is rows[0] else "", ("*" if row["chosen"] else " ") + by,
                     duration(row["median"]), f"{spread(row):.0%}"]
            if flops:
                speed = next((r["flops"] for r in rows if "flops" in r), 0) / row["median"]
                cells += [f"{speed / 1e9:.1f}", f"{speed / peak:.0%}" if peak else ""]
            shown = (["im2col"] if patches else []) + foreign
            ours = row["library"] == OURS
            cells += [f"{gain[name]:.2f}" if gain[name] and (ours or name == "im2col") else "" for name in shown]
            table.add_row(*cells, style="bold" if row["median"] == fastest else None)
    means = {name: geomean(values) for name, values in gains.items()}
    least = {name: min((v for v in values if v), default=None) for name, values in gains.items()}
    for label, values in (("geometric mean *", means), ("least *", least)):
        blank = [""] * (3 + 2 * flops)
        table.add_row(label, *blank, *([_number(values["im2col"])] if patches else []), *(_number(values[n]) for n in foreign),
                      style="italic")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def lines(record: dict) -> list[str]:
    """What stands above and below the tables: the machine, and what went wrong."""
    machine: dict[str, Any] = record["machine"]
    head = [f"{machine['cpu']}, {machine['cores']} cores, {machine['vector_bits']}-bit vectors"]
    head += [f"peak {key}: {value / 1e9:.0f} GFLOP/s" for key, value in record["peaks"].items()]
    head += [f"bandwidth @{key}: {value / 1e9:.1f} GB/s" for key, value in record["bandwidth"].items()]
    head += [f"{name} {version}" for name, version in record["libraries"].items()]
    return head
