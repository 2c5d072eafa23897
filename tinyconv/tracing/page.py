"""A trace as one HTML page to step through: forward, then backward, with the values of small tensors.

The page holds all it needs: page.html is its frame, page.css its looks, view.js what it does. What it shows is a list of
moments: each operation, and each gradient with the rule that made it, in the order in which they happened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from .. import __version__
from .findings import Finding
from .recorder import Choice, Event, Fill, Pull, Step, Value, walk
from .words import SPACE, by, call, duration, norm, reasons, size, title

Json = dict[str, Any]


def page(events: Sequence[Event], found: Sequence[Finding], name: str) -> str:
    """The page as text, under a title."""
    values: list[Json] = []
    data = {"title": name, "findings": [str(f) for f in found], "moments": list(_moments(events, values)), "values": values}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace(SPACE, " ").replace("<", "\\u003c")
    parts = {"version": __version__, "data": text}
    folder = files(__package__)
    return re.sub(r"\{\{([\w.]+)\}\}", lambda m: parts.get(m[1]) or (folder / m[1]).read_text("utf-8").rstrip(),
                  (folder / "page.html").read_text("utf-8"))


def _moments(events: Sequence[Event], values: list[Json]) -> Iterator[Json]:
    steps = {event.number: event for event in walk(events) if isinstance(event, Step)}
    passes = 0
    for event in events:
        if isinstance(event, Step):
            yield _forward(event, values)
        else:
            passes += 1
            for pull in event.pulls:
                for fill in pull.fills:
                    yield _backward(pull, fill, steps, passes, values)


def _forward(step: Step, values: list[Json]) -> Json:
    shown = [_shown(o.slot, f"{o.slot} = {o.source}", o.value, values) for o in step.operands]
    memory = size(step.bytes) if step.bytes else "a view: no memory of its own"
    return {
        "pass": "forward", "name": f"{step.op} #{step.number}", "step": step.number, "bad": not step.out.finite,
        "rule": f"#{step.number} = {call(step)}", "facts": [*filter(None, [step.meta]), duration(step.seconds), memory],
        "kernels": [_kernel(c) for c in step.choices], "takes": shown,
        "makes": _shown("y", f"#{step.number}", step.out, values), "inside": []}


def _backward(pull: Pull, fill: Fill, steps: dict[int, Step], passes: int, values: list[Json]) -> Json:
    takes = [_shown("g", f"g of #{pull.step}: the cotangent of the result", pull.g, values)]
    step = steps.get(pull.step or 0)
    if step is not None:
        takes += [_shown(o.slot, f"{o.slot} = {o.source}", o.value, values) for o in step.operands]
        takes.append(_shown("y", f"y = #{step.number}, the result", step.out, values))
    inside = [event for event in walk([*fill.events, *fill.added]) if isinstance(event, Step)]
    choices = [*pull.choices, *(c for event in inside for c in event.choices)]
    return {
        "pass": "backward" if passes == 1 else f"backward {passes}", "name": f"{title(pull)}, {fill.slot}", "step": pull.step,
        "bad": not fill.value.finite, "rule": fill.rule, "facts": [
            f"the gradient of {fill.slot} = {fill.source}", f"L2 norm {norm(fill.value)}",
            *([duration(sum(event.seconds for event in inside))] if inside else [f"{duration(pull.seconds)} for all operands"]),
            *(["added to the gradient that it had from another use"] if fill.added else [])],
        "kernels": [_kernel(c) for c in choices], "takes": takes,
        "makes": _shown(fill.slot, f"gradient of {fill.slot} = {fill.source}", fill.value, values),
        "inside": [f"#{event.number} = {call(event)}: {by(event.out.shape)}, {duration(event.seconds)}" for event in inside]}


def _kernel(choice: Choice) -> Json:
    return {"op": choice.kernel.op, "algorithm": choice.kernel.algorithm, "summary": choice.kernel.summary,
            "scratch": size(choice.scratch) if choice.scratch else "",
            "others": [[", ".join(names), why] for names, why in reasons(choice)]}


def _shown(slot: str, label: str, value: Value, values: list[Json]) -> Json:
    """A reference to a value, which stands in the page once."""
    numbers = None if value.array is None else [_number(v) for v in value.array.ravel().tolist()]
    entry = {"shape": list(value.shape), "dtype": value.dtype, "norm": norm(value), "numbers": numbers}
    if entry not in values[-40:]:
        values.append(entry)
    return {"slot": slot, "label": label, "value": len(values) - 1 - values[::-1].index(entry)}


def _number(v: Any) -> Any:
    """Four digits, as JSON has them; what it has not, as text."""
    if isinstance(v, bool | int):
        return int(v)
    return float(f"{v:.4g}") if np.isfinite(v) else str(v)
