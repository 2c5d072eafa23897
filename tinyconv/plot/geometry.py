"""What a picture of a convolution or a pooling shows, before any of it is drawn: grids of cells, and steps that light some.

    left grid (padded, or stretched by zeros)  --window of step n-->  cell n of the right grid

A step says which cells are read, with what weight, and which cell is made of them; `value` works the number out from
exactly that, so that what is drawn is what is computed. All geometry comes from the dims; the grids here are planes.
Read next: draw.py, which draws a Scene; ../arithmetic.py, whose numbers stand in the captions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from ..arithmetic import Relationship, axes, conv_relationship, equivalent_conv, pool_relationship, transposed_relationship
from ..dims import ConvDims, Ints, PoolDims

Cell = tuple[int, int]

DATA, PADDING, ZERO = "data", "padding", "zero"  # a cell of x or y, a row around it, a zero put between its rows


@dataclass(frozen=True)
class Grid:
    """A plane of cells: their roles, their numbers (NaN: none to show), and those that no step ever reads."""

    name: str
    roles: np.ndarray
    values: np.ndarray
    unused: np.ndarray

    @property
    def shape(self) -> Cell:
        rows, columns = self.roles.shape
        return rows, columns


@dataclass(frozen=True)
class Step:
    """One position of the window: cell -> weight on the left (NaN: unweighted), the cell it makes on the right."""

    read: dict[Cell, float]
    made: Cell
    chosen: Cell | None = None  # of a maximum, where on the left it stands


@dataclass(frozen=True)
class Scene:
    """A picture: grids from left to right, the steps between the first and the second, and a line about it.

    `kernel` is drawn between the two where there are values. `sent` is, for an unpooling, the third grid.
    """

    left: Grid
    right: Grid
    steps: tuple[Step, ...]
    caption: str
    kernel: np.ndarray | None = None
    kernel_name: str = "kernel"
    sent: Grid | None = None
    values: bool = field(default=False)

    def __post_init__(self) -> None:
        made = [step.made for step in self.steps]
        if made != list(np.ndindex(self.right.shape)):
            raise ValueError("a scene wants one step for every cell on the right, in order")


def conv_scene(dims: ConvDims, x: np.ndarray | None = None, w: np.ndarray | None = None) -> Scene:
    """The convolution y(x, w): x is padded, the kernel shades k*k of its cells a step. x (H, W), w (KH, KW) give values."""
    _plane(dims)
    left = _padded(f"input {_by(dims.input)}", dims.input, dims.padding, x)
    windows = [_window(o, dims.kernel, dims.stride, dims.dilation) for o in np.ndindex(dims.output)]
    weights = _numbers(w, dims.kernel)
    steps = tuple(Step({at: float(weights[tap]) for tap, at in window}, o)
                  for o, window in zip(np.ndindex(dims.output), windows))
    rules = [conv_relationship(*axis) for axis in axes(dims)]
    text = (f"i = {_size(dims.input)}, k = {_size(dims.kernel)}, s = {_size(dims.stride)}, p = {_pads(dims)}"
            + (f", d = {_size(dims.dilation)}" if max(dims.dilation) > 1 else ""))
    caption = f"{text}:  o = {_size(dims.output)}   ({_named(rules)})"
    return _scene(left, "output", dims.output, steps, caption, x is not None, weights, "kernel")


def transposed_scene(dims: ConvDims, y: np.ndarray | None = None, w: np.ndarray | None = None) -> Scene:
    """The transposed convolution x(y, w) as the direct one it equals: y stretched and padded, the kernel flipped, stride 1."""
    _plane(dims)
    same = [equivalent_conv(o, k, s, lo, hi, d, _extra(i, o, k, s, lo, hi, d)) for i, o, k, s, (lo, hi), d in zip(
        dims.input, dims.output, dims.kernel, dims.stride, dims.padding, dims.dilation)]
    pads = tuple((max(e.before, 0), max(e.after, 0)) for e in same)
    stretched = tuple(e.stretched for e in same)
    spread = None if y is None else np.zeros(stretched)
    if spread is not None:
        spread[::dims.stride[0], ::dims.stride[1]] = y
    left = _padded("y " + _by(dims.output) + ("" if stretched == dims.output else f", stretched to {_by(stretched)}"),
                   stretched, pads, spread)
    for r, c in np.ndindex(stretched):
        if r % dims.stride[0] or c % dims.stride[1]:
            left.roles[r + pads[0][0], c + pads[1][0]] = ZERO
    cut = tuple(max(-e.before, 0) for e in same)  # rows of y that more than full padding cuts off
    weights = _numbers(None if w is None else w[::-1, ::-1], dims.kernel)
    steps = []
    for at_x in np.ndindex(dims.input):
        window = _window(at_x, dims.kernel, (1, 1), dims.dilation)
        steps.append(Step({(r + cut[0], c + cut[1]): float(weights[tap]) for tap, (r, c) in window
                           if r + cut[0] < left.shape[0] and c + cut[1] < left.shape[1]}, at_x))
    zeros, before = tuple(e.zeros for e in same), tuple(e.before for e in same)
    extra = _size(tuple(e.extra for e in same))
    rules = [transposed_relationship(o, *axis[1:], e.extra) for o, axis, e in zip(dims.output, axes(dims), same)]
    text = (f"i' = {_size(dims.output)}, k = {_size(dims.kernel)}, s = {_size(dims.stride)}, p = {_pads(dims)}"
            + (f", d = {_size(dims.dilation)}" if max(dims.dilation) > 1 else "") + (f", a = {extra}" if extra != "0" else ""))
    caption = f"{text}:  o' = {_size(dims.input)}   ({_named(rules)})\n"
    caption += "the direct convolution by the flipped kernel, at stride 1" + (
        f", of y with {_size(zeros)} zero{'s' * (max(zeros) > 1)} between rows" if max(zeros) else "") + (
        f", padded by p' = {_size(before)}" if max(before) > 0 else "") + (
        f" and a = {extra} more at the end" if extra != "0" else "")
    return _scene(left, "x", dims.input, tuple(steps), caption, y is not None, weights, "kernel, flipped")


def pool_scene(dims: PoolDims, mode: str, x: np.ndarray | None = None) -> Scene:
    """A pooling of x (H, W), mode "max" or "average". A maximum is ringed where there are values."""
    _plane(dims)
    over = tuple(max(0, (o - 1) * s + (k - 1) * d + 1 - i - lo - hi) for i, o, k, s, (lo, hi), d in zip(
        dims.input, dims.output, dims.kernel, dims.stride, dims.padding, dims.dilation))  # a last window hangs over the end
    pads = tuple((lo, hi + more) for (lo, hi), more in zip(dims.padding, over))
    left = _padded(f"input {_by(dims.input)}", dims.input, pads, x)
    if x is not None and mode == "max":  # padding holds no cells: it never wins
        left.values[left.roles == PADDING] = np.nan
    steps = []
    for o in np.ndindex(dims.output):
        cells = [at for _, at in _window(o, dims.kernel, dims.stride, dims.dilation)]
        if mode == "average":
            held = [at for at in cells if all(v < i + lo + hi for v, i, (lo, hi) in zip(at, dims.input, dims.padding))]
            steps.append(Step(dict.fromkeys(cells, 1 / len(held)), o))
        else:
            inside = [at for at in cells if left.roles[at] == DATA]
            best = max(inside, key=lambda at: left.values[at]) if x is not None else None
            steps.append(Step(dict.fromkeys(cells, np.nan), o, best))
    rules = [pool_relationship(*axis) for axis in axes(dims)]
    text = f"i = {_size(dims.input)}, k = {_size(dims.kernel)}, s = {_size(dims.stride)}"
    text += f", p = {_pads(dims)}" if any(map(max, dims.padding)) else ""
    named = f"   ({_named(rules)})" if [r.size for r in rules] == list(dims.output) else ", with the last window hanging over"
    caption = f"{mode} pooling, {text}:  o = {_size(dims.output)}{named}"
    return _scene(left, "output", dims.output, tuple(steps), caption, x is not None)


def unpool_scene(dims: PoolDims, x: np.ndarray, y: np.ndarray) -> Scene:
    """A max pooling of x (H, W), and the unpooling that sends numbers y (OH, OW) back to where the maxima stood."""
    pooled = pool_scene(dims, "max", x)
    sent = np.zeros(dims.input)
    lo = [p[0] for p in dims.padding]
    for step in pooled.steps:
        assert step.chosen is not None
        sent[step.chosen[0] - lo[0], step.chosen[1] - lo[1]] += y[step.made]
    right = Grid("y, to send back", pooled.right.roles, y.astype(float), pooled.right.unused)
    third = Grid("unpooled", np.full(dims.input, DATA, object), sent, np.zeros(dims.input, bool))
    caption = (f"max unpooling, k = {_size(dims.kernel)}, s = {_size(dims.stride)}: each number goes back to where the maximum "
               f"of its window stood")
    return Scene(pooled.left, right, pooled.steps, caption, sent=third, values=True)


def value(scene: Scene, step: Step) -> float:
    """The number that a step makes, from the cells that it reads."""
    if step.chosen is not None:
        return float(scene.left.values[step.chosen])
    return float(sum(weight * scene.left.values[at] for at, weight in step.read.items()))


def _scene(left: Grid, name: str, size: Ints, steps: tuple[Step, ...], caption: str, values: bool,
           weights: np.ndarray | None = None, kernel_name: str = "") -> Scene:
    for step in steps:
        for at in step.read:
            left.unused[at] = False
    right = Grid(f"{name} {_by(size)}", np.full(size, DATA, object), np.full(size, np.nan), np.zeros(size, bool))
    scene = Scene(left, right, steps, caption, weights if values else None, kernel_name, values=values)
    if values:
        for step in steps:
            right.values[step.made] = value(scene, step)
    return scene


def _padded(name: str, size: Ints, pads: Sequence[Ints], values: np.ndarray | None) -> Grid:
    roles = np.full(tuple(lo + i + hi for i, (lo, hi) in zip(size, pads)), PADDING, object)
    (top, _), (left, _) = pads
    roles[top:top + size[0], left:left + size[1]] = DATA
    numbers = np.full(roles.shape, np.nan)
    if values is not None:
        if values.shape != size:
            raise ValueError(f"{name} got values of shape {values.shape}")
        numbers = np.pad(values.astype(float), pads)
    return Grid(name, roles, numbers, np.ones(roles.shape, bool))


def _window(o: Ints, kernel: Ints, stride: Ints, dilation: Ints) -> Iterator[tuple[Cell, Cell]]:
    """Every tap of the kernel, with the cell of the padded grid that it falls on for output cell o."""
    for tap in product(*map(range, kernel)):
        yield tap, tuple(at * s + t * d for at, s, t, d in zip(o, stride, tap, dilation))  # type: ignore[misc]


def _numbers(values: np.ndarray | None, size: Ints) -> np.ndarray:
    if values is None:
        return np.full(size, np.nan)
    if values.shape != size:
        raise ValueError(f"the kernel is {_size(size)} here, its values are {values.shape}")
    return values.astype(float)


def _plane(dims: ConvDims | PoolDims) -> None:
    if dims.rank != 2:
        raise ValueError(f"pictures are of planes: 2 spatial dimensions, these dims have {dims.rank}")


def _named(rules: list[Relationship]) -> str:
    if rules[0].number == rules[1].number:
        return f"relationship {rules[0].number}, {rules[0].title}"
    return f"relationships {rules[0].number} and {rules[1].number}, by dimension"


def _extra(i: int, o: int, k: int, s: int, lo: int, hi: int, d: int) -> int:
    return i - equivalent_conv(o, k, s, lo, hi, d).output


def _by(sizes: Ints) -> str:
    return "x".join(map(str, sizes))


def _size(sizes: Ints) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else _by(sizes)


def _pads(dims: ConvDims | PoolDims) -> str:
    flat = {p for pair in dims.padding for p in pair}
    return str(flat.pop()) if len(flat) == 1 else ", ".join(f"{lo}+{hi}" for lo, hi in dims.padding)
