"""Recorded rows: one JSON file for each suite and machine, written whole or not at all, and two of them compared."""

from __future__ import annotations

import json
import re
import tempfile
import time
from math import exp, log
from pathlib import Path
from typing import Any

from . import machine

KEY = ("suite", "op", "case", "dtype", "threads", "library", "algorithm")
TIMES = ("median", "low", "high")
HEAD = {"suite", "when", "machine"}
LEAST = 0.05  # a change of less than this share is noise, whatever the quartiles say


def new(suite: str) -> dict[str, Any]:
    """An empty record of this machine, now."""
    return {"suite": suite, "when": time.strftime("%Y-%m-%d %H:%M"), "machine": machine.describe(), "libraries": {},
            "peaks": {}, "bandwidth": {}, "rows": [], "failures": []}


def joined(suite: str, parts: list[dict]) -> dict[str, Any]:
    """Several records of one run as one."""
    rows = [row for part in parts for row in part["rows"]]
    return {**parts[0], "suite": suite, "rows": rows, "failures": [f for part in parts for f in part["failures"]]}


def merged(record: dict | None, more: dict) -> dict[str, Any]:
    """A record and the same suite with another number of threads as one."""
    if record is None:
        return more
    return {**record, **{part: record[part] | more[part] for part in ("peaks", "bandwidth")},
            **{part: record[part] + more[part] for part in ("rows", "failures")}}


def folder(base: Path | None = None) -> Path:
    """The folder of this machine's records: bench/results/MACHINE in a clone, tinyconv-bench/MACHINE elsewhere."""
    base = base or Path("bench/results" if Path("bench/results").is_dir() else "tinyconv-bench")
    facts = machine.describe()
    name = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b|@ *[\d.]+ *ghz", "", f"{facts['cpu']} {facts['cores']} cores".lower())
    return base / re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def check_writable(folder: Path) -> None:
    """Raise ValueError where nothing can be written to this folder, which need not exist: before all is timed, not after."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise ValueError(f"cannot record in {folder}: {error.strerror}; name another folder with --out") from error


def save(record: dict, path: Path) -> None:
    """Write a record, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    part.replace(path)


def load(path: Path) -> dict:
    """Read a record. Raises: ValueError with the path where it is none."""
    try:
        record = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a record of the bench: {error}") from error
    rows = record.get("rows") if isinstance(record, dict) and HEAD <= record.keys() else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is no record of the bench: it has no {', '.join(sorted(HEAD))} and rows")
    return record


def drift(changes: list[dict]) -> float | None:
    """How much faster the other libraries came out, in the mean: the machine's doing, not ours. None without any."""
    logs = [log(c["gain"]) for c in changes if c["library"] != "tinyconv"]
    return exp(sum(logs) / len(logs)) if logs else None


def compare(old: dict, new: dict) -> tuple[list[dict], tuple[int, int]]:
    """What two records have in common, the largest change first, and how many rows are in one of them alone.

    Each with `gain` (old time / new time) and `verdict`: "faster" or "slower" where the quartiles do not overlap and the
    change is more than LEAST; else "same".
    """
    before, after = _timed(old), _timed(new)
    changes = []
    for key, row in after.items():
        if was := before.get(key):
            gain = was["median"] / row["median"]
            apart = row["high"] < was["low"] or was["high"] < row["low"]
            verdict = "same" if not apart or abs(gain - 1) < LEAST else "faster" if gain > 1 else "slower"
            changes.append({**dict(zip(KEY, key)), "old": was["median"], "new": row["median"], "gain": gain,
                            "verdict": verdict})
    alone = len(before.keys() - after.keys()), len(after.keys() - before.keys())
    return sorted(changes, key=lambda c: -max(c["gain"], 1 / c["gain"])), alone


def _timed(record: dict) -> dict[tuple, dict]:
    """The rows that are timings, by what they are of."""
    return {tuple(row[name] for name in KEY): row for row in record["rows"] if {*KEY, *TIMES} <= row.keys()}
