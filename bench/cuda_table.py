"""The table of bench/cuda.py, from its record: a line for each map of each layer, then the means, the steps, what failed."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log

from tinyconv.bench.task import SLOTS

GOAL = 0.7  # of cuDNN's rate, on the geometric mean
TILES = "tinyconv.cuda_winograd"


def lines(rec: dict) -> Iterator[str]:
    """The table, of whatever the record holds: rows that were not reached leave a dash."""
    yield f"{rec['machine'].get('card', 'an unknown card')}, {rec['when']}: {_measured(rec)}"
    yield from rec["machine"].get("notes", ())
    yield "times in us; TF/s and TB/s with their share of what was measured; x: how many times as long the other takes"
    yield "winograd, where it fits, has a line of its own; its TF/s are those of the direct sum that it stands for"
    found: dict[tuple[str, str], dict[str, dict]] = {}
    for row in rec["rows"]:
        found.setdefault((row["op"], row["case"]), {})[f"{row['library']}.{row['algorithm']}"] = row
    for op in SLOTS:
        rows = {case: by for (of, case), by in found.items() if of == op}
        if rows:
            yield from _map_lines(op, rows, rec)
    yield ""
    for op in SLOTS:
        yield from _mean_lines(op, [by for (of, _), by in found.items() if of == op])
    yield from _step_lines({case: by for (of, case), by in found.items() if of == "step"})
    for row in rec["failures"]:
        yield f"FAILED {row['op']} {row['case']} by {row['algorithm']}: {row['why']}"
    if left := rec.get("left"):
        yield f"not reached in the time given, {len(left)} of {rec['jobs']} jobs: {', '.join(left)}"


def _measured(rec: dict) -> str:
    peak, memory = rec["peaks"].get("float32"), rec["bandwidth"].get("bytes")
    return f"measured {peak / 1e12:.1f} TFLOP/s of float32, {memory / 1e12:.2f} TB/s" if peak and memory else \
        "peak and bandwidth were not measured"


def _ours(by: dict[str, dict]) -> dict | None:
    """The row of the kernel that is chosen: the first of tinyconv's that is neither the baseline nor a slow rung."""
    return next((by[name] for name in ("tinyconv.cuda_depthwise", "tinyconv.cuda_tiled") if name in by), None)


def _map_lines(op: str, rows: dict[str, dict[str, dict]], rec: dict) -> Iterator[str]:
    peak, memory = rec["peaks"].get("float32"), rec["bandwidth"].get("bytes")
    yield ""
    yield f"{op:<18}{'kernel':<11}{'us':>9}{'TF/s':>6}{'peak':>6}{'TB/s':>6}{'mem':>6}" + "".join(
        f"{name:>9}" for name in ("x cudnn", "x im2col", "(memory)", "x shared", "x naive"))
    for case, by in rows.items():
        for row in filter(None, (_ours(by), by.get(TILES))):
            t = row["median"]
            flops, moved = row["flops"] / t, row["bytes"] / t
            times = [f"{by[other]['median'] / t:.2f}" if other in by else "-" for other in
                     ("torch.cudnn", "tinyconv.cuda_im2col", "tinyconv.cuda_shared", "tinyconv.cuda_naive")]
            least = by.get("tinyconv.cuda_im2col", {}).get("scratch") or 0
            times.insert(2, f"{row['scratch'] / least:.2f}" if least else "-")
            shares = [f"{flops / peak:.0%}" if peak else "-", f"{moved / memory:.0%}" if memory else "-"]
            yield (f"{case:<18}{row['algorithm'][5:]:<11}{1e6 * t:>9.1f}{flops / 1e12:>6.1f}{shares[0]:>6}{moved / 1e12:>6.2f}"
                   f"{shares[1]:>6}" + "".join(f"{cell:>9}" for cell in times))


def _mean_lines(op: str, rows: list[dict[str, dict]]) -> Iterator[str]:
    for other, goal in (("torch.cudnn", f" (goal {GOAL})"), ("tinyconv.cuda_im2col", ""), (TILES, "")):
        gains = [by[other]["median"] / ours["median"] for by in rows if (ours := _ours(by)) and other in by]
        if gains:
            mean = exp(sum(map(log, gains)) / len(gains))
            yield f"{op}: {mean:.2f} x {other.partition('.')[2]} on the geometric mean of {len(gains)}{goal}"


def _step_lines(steps: dict[str, dict[str, dict]]) -> Iterator[str]:
    for case, by in steps.items():
        theirs = by.get("torch.eager")
        for row in by.values():
            gain = f"  {theirs['median'] / row['median']:.2f} x PyTorch" if theirs and row is not theirs else ""
            yield f"step of {case:<14}{row['library']:<9}{row['algorithm']:<7}{1e6 * row['median']:>9.1f} us{gain}"
