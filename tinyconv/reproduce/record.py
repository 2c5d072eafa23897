"""The results of a table's rows as one record, and that record as a table of Markdown for the README.

A record is what bench/ keeps of a machine: {"suite", "when", "machine", "rows"}, a row for each row of the table and seed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from ..data.files import replacing
from ..train import TrainError
from .table import MNIST_TABLE
from .work import RESULT, read_result

SUITE = "mnist-table"


def collect(out: Path) -> dict[str, Any]:
    """The record of the results below a folder, in the order of the table. Raises: TrainError where there are none."""
    order = list(MNIST_TABLE)
    rows = [row for path in out.glob(f"*/{RESULT}") if (row := read_result(path))["row"] in MNIST_TABLE]
    if not rows:
        raise TrainError(f"there are no results in {out}: `tinyconv reproduce mnist-table` makes some")
    rows.sort(key=lambda row: (order.index(row["row"]), row["seed"]))
    last = max(rows, key=lambda row: row["when"])
    return {"suite": SUITE, "when": last["when"], "machine": last["machine"], "rows": rows}


def write(record: dict[str, Any], path: Path) -> None:
    """Write a record, whole or not at all; rows and seeds that only the file has are kept."""
    if path.exists():
        try:
            rows = {(row["row"], row["seed"]): row for row in json.loads(path.read_text("utf-8"))["rows"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainError(f"{path} is no record of this table: {error}") from error
        rows |= {(row["row"], row["seed"]): row for row in record["rows"]}
        order = list(MNIST_TABLE)
        record = {**record, "rows": [rows[key] for key in sorted(rows, key=lambda k: (order.index(k[0]), k[1]))]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())


def measured(results: Sequence[dict[str, Any]]) -> tuple[str, str, str]:
    """A row's seeds as words: accuracy in percent (the mean, and how far apart), seconds an epoch, and what to know.

    The seconds are those of the runs that had all cores to themselves, where there is one.
    """
    values = [result["accuracy"] for result in results]
    accuracy = f"{mean(values):.2f}"
    notes = [f"{len(values)} seeds, {min(values):.2f} to {max(values):.2f}"] if len(values) > 1 else []
    book = results[0]["book_epochs"]
    notes += [f"{n} epoch{'s' * (n > 1)}, not the book's {book}" for n in sorted({r["epochs"] for r in results} - {book})]
    timed = [result for result in results if not result["nice"] and not result["threads"]]
    if not timed:
        notes.append("timed beside other work")
    return accuracy, f"{median(s for r in timed or results for s in r['seconds']):.1f}", "; ".join(notes)


def by_row(record: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The results of each row of the table that has any."""
    found = {name: [row for row in record["rows"] if row["row"] == name] for name in MNIST_TABLE}
    return {name: rows for name, rows in found.items() if rows}


def markdown(record: dict[str, Any]) -> str:
    """The table, published beside measured."""
    machine, rows = record["machine"], by_row(record)
    where = f"{machine['cpu']}, {machine['cores']} cores; {record['when'].split()[0]}"
    lines = [f"**MNIST, test accuracy in percent.** {where}.", "",
             "| row | network | published | measured | seconds an epoch | |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for name, results in rows.items():
        row, (accuracy, seconds, notes) = MNIST_TABLE[name], measured(results)
        lines.append(f"| {name} | {row.network} | {row.published:.2f} | {accuracy} | {seconds} | {notes} |")
    return "\n".join(lines)
