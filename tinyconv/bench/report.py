"""Rows as tables: the figures of each task beside im2col and the other libraries, and geometric means over the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp, log
from typing import NamedTuple

from rich.table import Table

from .contest import OURS, ratio
from .record import drift

WIDE = 110  # columns of a terminal that has room for every figure


class Key(NamedTuple):
    """What a group of rows has in common: a task, and a number of threads."""

    suite: str
    op: str
    case: str
    dtype: str
    threads: int


def by_task(rows: Iterable[dict]) -> dict[Key, list[dict]]:
    """The rows of each task and number of threads, in their order."""
    tasks: dict[Key, list[dict]] = {}
    for row in rows:
        tasks.setdefault(Key(*(row[name] for name in Key._fields)), []).append(row)
    return tasks


def find(rows: Iterable[dict], library: str, algorithm: str | None = None) -> dict | None:
    """The timed row of a library (and algorithm) among those of one task."""
    for row in rows:
        if row["library"] == library and "median" in row and algorithm in (None, row["algorithm"]):
            return row
    return None


def rivals(rows: Iterable[dict]) -> list[str]:
    """The other libraries among the rows."""
    return list(dict.fromkeys(row["library"] for row in rows if row["library"] != OURS))


def gain(row: dict, rows: list[dict], rival: str) -> float | None:
    """How many times faster a row is than a rival of the same task: "im2col" or another library. None against itself."""
    other = find(rows, OURS, "im2col") if rival == "im2col" else find(rows, rival)
    return None if other is None or other is row or "median" not in row else ratio(other, row)


def gains(tasks: dict[Key, list[dict]], rival: str) -> list[float]:
    """The gain of the chosen algorithm over a rival, for each task that has both."""
    found = [gain(row, rows, rival) for rows in tasks.values() for row in rows if row.get("chosen") and row["library"] == OURS]
    return [g for g in found if g is not None]


def geomean(values: Iterable[float]) -> float:
    """The geometric mean; not a number where there is nothing.

    >>> geomean([1.0, 4.0])
    2.0
    """
    logs = [log(v) for v in values]
    return exp(sum(logs) / len(logs)) if logs else float("nan")


def duration(seconds: float) -> str:
    """Three digits and a unit.

    >>> duration(0.00123456), duration(12.3), duration(4.56e-5)
    ('1.23 ms', '12.3 s', '45.6 us')
    """
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s), ("us", 1e-6))
    return f"{_digits(seconds / size)} {unit}"


def size(count: float) -> str:
    """Three digits and a unit of bytes.

    >>> size(0), size(123456)
    ('0 kB', '123 kB')
    """
    unit, scale = ("kB", 1e3) if count < 1e6 else ("MB", 1e6) if count < 1e9 else ("GB", 1e9)
    return f"{_digits(count / scale)} {unit}" if count else "0 kB"


def _digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def spread(row: dict) -> float:
    """Half the distance between the quartiles, as a share of the median."""
    return (row["high"] - row["low"]) / 2 / row["median"] if row["median"] else 0.0


def roof(row: dict, record: dict) -> float:
    """The least seconds that the roofline allows: as many as the flops need at peak, or the bytes at full bandwidth."""
    peak = record["peaks"][f"{row['dtype']}@{row['threads']}"]
    return max(row.get("flops", 0) / peak, row.get("bytes", 0) / record["bandwidth"][str(row["threads"])])


# -- tables --------------------------------------------------------------------------------------------------------

Show = Callable[[dict, list[dict]], str]


class Line(NamedTuple):
    """A row as text; `best` of its task, or one that `loses` against another library although it was chosen."""

    cells: list[str]
    chosen: bool
    best: bool
    loses: bool


class Grid(NamedTuple):
    """A table as text, for the terminal, the page or a README."""

    title: str
    heads: list[str]
    lines: list[Line]
    means: list[list[str]]


def grids(record: dict, wide: bool = False) -> list[Grid]:
    """One table for each suite, operation, dtype and number of threads."""
    groups: dict[Key, dict[Key, list[dict]]] = {}
    for key, rows in by_task(row for row in record["rows"] if "refused" not in row).items():
        if len(rows) - len(rivals(rows)) > 2:  # a ladder is read from its foot
            rows.sort(key=lambda row: (row["library"] != OURS, -row.get("median", 0.0)))
        groups.setdefault(key._replace(case=""), {})[key] = rows
    return [_grid(record, title, tasks, wide) for title, tasks in groups.items()]


def _grid(record: dict, title: Key, tasks: dict[Key, list[dict]], wide: bool) -> Grid:
    columns = _columns(record, tasks, wide)
    lines = []
    for key, rows in tasks.items():
        best = min((row["median"] for row in rows if "median" in row), default=None)
        for row in rows:
            chosen = row["chosen"] and row["library"] == OURS
            name = ("*" if chosen else " ") + (row["algorithm"] or row["library"])
            cells = [key.case if row is rows[0] else "", name, *(show(row, rows) for _, show in columns)]
            loses = chosen and any((gain(row, rows, rival) or 1) < 1 for rival in rivals(rows))
            lines.append(Line(cells, chosen, "median" in row and row["median"] == best, loses))
    means = []
    for label, mean in (("geometric mean", geomean), ("least", min)):
        cells = [_times(mean(found)) if head[:2] == "x " and (found := gains(tasks, head[2:])) else "" for head, _ in columns]
        if any(cells):
            means.append([label, "", *cells])
    heads = ["case", "by", *(head for head, _ in columns)]
    name = title.op if title.suite in (title.op, "conv", "pool", "steps") else f"{title.suite}: {title.op}"
    return Grid(f"{name}, {title.dtype}, {title.threads} thread{'s' * (title.threads > 1)}", heads, lines, means)


def _columns(record: dict, tasks: dict[Key, list[dict]], wide: bool) -> list[tuple[str, Show]]:
    """The figures of a row, those that its table has."""
    rows = [row for group in tasks.values() for row in group]
    if any("peak" in row for row in rows):
        return [("stated", lambda row, _: size(row["scratch"]) if "scratch" in row else ""),
                ("seen", lambda row, _: size(row["peak"]))]
    columns: list[tuple[str, Show]] = [
        ("median", lambda row, _: duration(row["median"])), ("+-", lambda row, _: f"{spread(row):.0%}")]
    if any("flops" in row for row in rows):
        columns += [("GFLOP/s", lambda row, _: f"{row['flops'] / row['median'] / 1e9:.1f}"),
                    ("peak", lambda row, _: f"{row['flops'] / row['median'] / _peak(row, record):.0%}")]
        if wide and any("bytes" in row for row in rows):
            columns += [("roof", lambda row, _: f"{roof(row, record) / row['median']:.0%}"),
                        ("scratch", lambda row, _: size(row["scratch"]) if "scratch" in row else "")]
    elif any("bytes" in row for row in rows):
        columns += [("GB/s", lambda row, _: f"{row['bytes'] / row['median'] / 1e9:.1f}"),
                    ("of memory", lambda row, _: f"{roof(row, record) / row['median']:.0%}")]
    if wide and any("first" in row for row in rows):
        columns.append(("first call", lambda row, _: duration(row["first"])))
    patches = ["im2col"] if any(find(group, OURS, "im2col") for group in tasks.values()) else []
    shown = patches + rivals(rows)
    return columns + [(f"x {rival}", _gain_over(rival)) for rival in (shown if wide else shown[:2])]


def _gain_over(rival: str) -> Show:
    return lambda row, group: _times(gain(row, group, rival))


def _peak(row: dict, record: dict) -> float:
    return record["peaks"][f"{row['dtype']}@{row['threads']}"]


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1g}" if value < 0.095 else f"{value:.2f}" if value < 99.95 else f"{value:.0f}"


def tables(record: dict, width: int = 80) -> list[tuple[str, Table]]:
    """The grids, each with its title, for a terminal of this width: the best of a task bold, a chosen one that loses red."""
    made = []
    for grid in grids(record, width >= WIDE):
        table = Table(box=None, pad_edge=False)
        for n, head in enumerate(grid.heads):
            table.add_column(head, justify="left" if n < 2 else "right", no_wrap=True)
        for line in grid.lines:
            table.add_row(*line.cells, style="red" if line.loses else "bold" if line.best else None)
        for cells in grid.means:
            table.add_row(*cells, style="italic")
        made.append((grid.title, table))
    return made


def changes(found: list[dict]) -> Table:
    """The rows of two records that differ beyond the noise, and how many do not."""
    several = len({c["threads"] for c in found}) > 1
    table = Table(box=None, pad_edge=False)
    for head in ("", "case", "by", "old", "new", "x"):
        table.add_column(head, justify="left" if head in ("", "case", "by") else "right", no_wrap=True)
    for c in found:
        if c["verdict"] != "same":
            name = f"{c['op']} {c['case']}" + f" {c['dtype']}" * (c["dtype"] != "float32") + f" on {c['threads']}" * several
            table.add_row(c["verdict"], name, c["algorithm"] or c["library"], duration(c["old"]), duration(c["new"]),
                          f"{c['gain']:.2f}", style="red" if c["verdict"] == "slower" else "green")
    table.add_row("same", f"{sum(c['verdict'] == 'same' for c in found)} of {len(found)} rows", "", "", "", "")
    return table


def compared(old: dict, new: dict, found: list[dict], alone: tuple[int, int]) -> list[str]:
    """What stands above the changes: both records, what only one of them has, and what is the machine's doing."""
    said = [f"{name}: {record['suite']}, {_machine(record)}, {record['when']}"
            for name, record in (("old", old), ("new", new))]
    if _machine(old) != _machine(new):
        said.append("two machines: what follows is the difference between them, too")
    said += [f"{count} rows are in the {name} one alone" for name, count in zip(("old", "new"), alone) if count]
    if (of_machine := drift(found)) is not None:
        said.append(f"the other libraries came out {of_machine:.2f} times as fast: so much is the machine's doing")
    return said


def lines(record: dict) -> list[str]:
    """What stands above the tables: the machine and the libraries."""
    peaks = ", ".join(f"{value / 1e9:.0f} GFLOP/s ({key.replace('@', ', ')} threads)" for key, value in record["peaks"].items())
    moved = ", ".join(f"{value / 1e9:.0f} GB/s ({key} threads)" for key, value in record["bandwidth"].items())
    return [f"{_machine(record)}, {record['machine']['vector_bits']}-bit vectors",
            f"multiply-adds {peaks}; memory {moved}",
            ", ".join(f"{name} {version}" for name, version in record["libraries"].items()) + f"; {record['when']}"]


def _machine(record: dict) -> str:
    return f"{record['machine']['cpu']}, {record['machine']['cores']} cores"
