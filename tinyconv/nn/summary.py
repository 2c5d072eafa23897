"""What a network is made of: for every layer its output's size, parameters, multiply-adds, bytes and receptive field.

Nothing is asked of the layers: one forward pass of zeros is recorded on the tape, and what each module's nodes cost and see
is read from there, so that a network of one's own, with operations between its layers, is counted as well.
Read next: ../arithmetic.py, where the receptive fields come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from html import escape
from math import prod
from typing import Any

import numpy as np

from ..arithmetic import Field
from ..dims import AdaptiveDims, ConvDims, Ints, PoolDims
from ..registry import hollow
from ..tensor import Node, Tensor, enable_grad
from .module import Module

Fields = tuple[Field, ...]  # one a spatial dimension

BACKWARDS = ("conv_input_grad", "conv_transpose_relu", "pool_scatter", "avg_pool_adjoint")  # fill x from y
LEAST_KIND = 6  # letters of a layer's kind that still say what it is
HEADINGS = ("layer", "", "output", "parameters", "multiply-adds", "bytes", "sees", "jump")


@dataclass(frozen=True)
class Row:
    """A call of one module. Sizes and counts are of one sample; `sees` and `jump` are cells of the input, per dimension."""

    name: str
    kind: str
    output: tuple[Ints, ...]
    parameters: int
    macs: int
    bytes: int
    sees: tuple[int, ...]
    jump: tuple[int | Fraction, ...]


@dataclass(frozen=True)
class Summary:
    """The layers in the order they ran, and the sums. Prints as a table, in a notebook too."""

    model: str
    input: tuple[Ints, ...]
    rows: tuple[Row, ...]
    parameters: int
    trained: int
    macs: int
    parameter_bytes: int

    @property
    def bytes(self) -> int:
        """Bytes of all outputs for one sample: what a forward pass keeps to be differentiated."""
        return sum(row.bytes for row in self.rows)

    def __repr__(self) -> str:
        return self.text()

    def text(self, width: int | None = None) -> str:
        """The table; for a screen of this many columns without bytes and jumps, and then with kinds cut short, or left out."""
        table = [HEADINGS, *map(_cells, self.rows)]
        if width is not None and _width(table) > width:
            table = [(*line[:5], line[6]) for line in table]
            room = _widest(table, 1) - max(0, _width(table) - width)
            table = [(line[0], *((_cut(line[1], room),) if room >= LEAST_KIND else ()), *line[2:]) for line in table]
        widths = [_widest(table, column) for column in range(len(table[0]))]
        left = HEADINGS.index("output") - (len(table[0]) < 6)  # behind it numbers
        lines = ["  ".join(text.rjust(w) if column > left else text.ljust(w)
                           for column, (text, w) in enumerate(zip(line, widths))).rstrip() for line in table]
        return "\n".join([f"{self.model} of {_shapes(self.input)}", "", *lines, "", *self._totals()])

    def _repr_html_(self) -> str:
        def line(texts: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f'<{tag} style="text-align:{"right" if column > 2 else "left"}">{escape(text)}</{tag}>'
                                    for column, text in enumerate(texts)) + "</tr>"

        body = "".join(line(_cells(row), "td") for row in self.rows)
        return (f"<table><caption>{escape(self.model)} of {_shapes(self.input)}</caption><thead>{line(HEADINGS, 'th')}</thead>"
                f"<tbody>{body}</tbody></table><p>{'<br>'.join(map(escape, self._totals()))}</p>")

    def _totals(self) -> list[str]:
        frozen = f" ({self.parameters - self.trained:,} of them frozen)" if self.trained < self.parameters else ""
        return [f"{self.parameters:,} parameters{frozen} in {_size(self.parameter_bytes)}",
                f"{self.macs:,} multiply-adds for one sample, whose layers put out {_size(self.bytes)}"]


def summary(model: Module, *input_sizes: Ints) -> Summary:
    """What `model` does to one sample of these sizes, without the batch: (C, H, W) for a network of images.

    Runs it once, on zeros, as in evaluation and by kernels that compute nothing; nothing about the model changes. A field
    of the size of the input and a jump of 0 say that every output sees all of it; that the statistics of a normalisation
    do is left out.
    Raises: what the model raises for a size that it cannot take.

    >>> from . import Conv2d, Flatten, Linear, ReLU, Sequential
    >>> summary(Sequential(Conv2d(1, 4, 3), ReLU(), Flatten(), Linear(4 * 36, 10)), (1, 8, 8))
    Sequential of 1x8x8
    <BLANKLINE>
    layer           output  parameters  multiply-adds  bytes  sees  jump
    0      Conv2d   4x6x6           40          1,296    576   3x3     1
    1      ReLU     4x6x6            0              0    576   3x3     1
    2      Flatten  144              0              0    576   3x3     1
    3      Linear   10           1,450          1,440     40   8x8   all
    <BLANKLINE>
    1,490 parameters in 5.8 KiB
    2,736 multiply-adds for one sample, whose layers put out 1.7 KiB
    """
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    inputs = [Tensor(np.zeros((1, *size), dtype), requires_grad=True) for size in input_sizes]
    recorder = _Recorder({t.node: tuple(Field() for _ in t.shape[2:]) for t in inputs if t.node}, inputs[0].shape[2:])
    with _evaluating(model), recorder.watching(model), enable_grad(), hollow(), np.errstate(all="ignore"):
        model(*inputs)
    own = {id(p): p for p in model.parameters()}.values()
    return Summary(type(model).__name__, input_sizes, tuple(recorder.rows), sum(p.numel() for p in own),
                   sum(p.numel() for p in own if p.requires_grad), sum(row.macs for row in recorder.rows),
                   sum(p.data.nbytes for p in own))


class _Recorder:
    """Watches modules run, and reads what they did from the nodes that they left on the tape."""

    def __init__(self, fields: dict[Node | None, Fields | None], size: Ints):
        self.fields, self.size = fields, size
        self.counted: set[Node] = set()
        self.parameters: set[int] = set()
        self.rows: list[Row] = []

    @contextmanager
    def watching(self, model: Module) -> Iterator[None]:
        """Every call of `model` and of what is in it is recorded, for the block."""
        found = list(model.named_modules())
        before = {module: vars(module).get("forward") for _, module in found}
        try:
            for name, module in found:
                vars(module)["forward"] = self._watched(name, module, module.forward)
            yield
        finally:
            for module, forward in before.items():
                if forward is None:
                    vars(module).pop("forward", None)
                else:
                    vars(module)["forward"] = forward

    def _watched(self, name: str, module: Module, forward: Any) -> Any:
        def watched(*args: Any, **options: Any) -> Any:
            result = forward(*args, **options)
            self._record(name, module, [t for t in _flat(result) if isinstance(t, Tensor)])
            return result

        return watched

    def _record(self, name: str, module: Module, outputs: list[Tensor]) -> None:
        macs = sum(self._count(t.node) for t in outputs)
        own = [p for p in module.parameters(recurse=False) if id(p) not in self.parameters]
        self.parameters.update(map(id, own))
        if next(module.children(), None) is not None and not own and not macs:
            return  # made of others, which have rows of their own
        seen = self._merged([self._field(t.node) for t in outputs])
        self.rows.append(Row(
            name or type(module).__name__, type(module).__name__, tuple(t.shape[1:] for t in outputs),
            sum(p.numel() for p in own), macs, sum(t.data.nbytes for t in outputs),
            tuple(int(f.size) for f in seen or ()), tuple(f.jump for f in seen or ())))

    def _count(self, node: Node | None) -> int:
        """Multiply-adds of a node and of all before it that no module was charged with yet."""
        total, todo = 0, [node]
        while todo:
            node = todo.pop()
            if node is not None and node.op is not None and node not in self.counted:
                self.counted.add(node)
                total += _macs(node)
                todo += node.edges
        return total

    def _field(self, node: Node | None) -> Fields | None:
        """What the result of a node sees of the input; None for a constant or a parameter."""
        todo = [node]
        while todo:  # depth first, without recursion: networks can be deep
            node = todo[-1]
            if node in self.fields:
                todo.pop()
            elif node is None or node.op is None:
                self.fields[node] = None
            elif missing := [e for e in node.edges if e not in self.fields]:
                todo += missing
            else:
                self.fields[node] = self._seen(node, self._merged([self.fields[e] for e in node.edges]))
        return self.fields[node]

    def _seen(self, node: Node, before: Fields | None) -> Fields | None:
        if before is None or node.op is None:
            return before
        dims = node.meta.get("dims")
        if isinstance(dims, ConvDims | PoolDims) and len(before) == dims.rank:
            windows = zip(before, dims.kernel, dims.stride, (lo for lo, _ in dims.padding), dims.dilation)
            return tuple((Field.transposed if node.op.name in BACKWARDS else Field.conv)(*axis) for axis in windows)
        if isinstance(dims, AdaptiveDims):
            return tuple(f.conv(max(counts), Fraction(i, o)) for f, (_, counts), i, o in zip(
                before, dims.windows, dims.input, dims.output))
        if node.op.name == "matmul" and node.saved[1].ndim > 2 and self.fields[node.edges[1]] is None:
            return before  # weights of their own for each place: places do not mix
        if node.op.name in ("linear", "matmul", "einsum"):
            return tuple(Field(i, 0) for i in self.size)
        if node.op.name in ("sum", "amax"):  # over a spatial dimension: what it has of it is in every result
            summed = node.meta["axes"]
            return tuple(Field(i, 0) if axis in summed else f for axis, (f, i) in enumerate(zip(before, self.size), 2))
        return before

    @staticmethod
    def _merged(fields: list[Fields | None]) -> Fields | None:
        """Of several operands, the field that holds all theirs."""
        known = [f for f in fields if f is not None]
        return tuple(reduce(Field.joined, axis) for axis in zip(*known)) if known else None


def _macs(node: Node) -> int:
    """Multiply-adds of one step of the tape: those of its matrix product or convolution."""
    dims, name = node.meta.get("dims"), node.op.name if node.op else ""
    if isinstance(dims, ConvDims) and name not in ("unfold", "fold"):  # which only move
        return dims.macs
    if name in ("linear", "matmul"):
        x, w = node.saved[:2]
        return x.numel() * w.shape[0 if name == "linear" else -1]
    if name == "einsum":
        labels = {c: n for t, c_ in zip(node.saved, ("x_labels", "w_labels")) for c, n in zip(node.meta[c_], t.shape)}
        return prod(labels.values())
    return 0


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    """The model in evaluation, for the block."""
    before = [(module, module.training, "training" in vars(module)) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training, own in before:
            module.training = training
            if not own:
                del module.training


def _flat(result: Any) -> Iterator[Any]:
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, list | tuple):
        for part in result:
            yield from _flat(part)
    else:
        yield result


def _cells(row: Row) -> tuple[str, ...]:
    return (row.name, row.kind, _shapes(row.output), f"{row.parameters:,}", f"{row.macs:,}", _size(row.bytes), _by(row.sees),
            "all" if row.jump and not any(row.jump) else str(row.jump[0]) if len(set(row.jump)) == 1 else _by(row.jump))


def _widest(table: Sequence[Sequence[str]], column: int) -> int:
    return max(len(line[column]) for line in table)


def _width(table: Sequence[Sequence[str]]) -> int:
    return sum(_widest(table, column) + 2 for column in range(len(table[0]))) - 2


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[:room - 1] + "…"


def _shapes(shapes: tuple[Ints, ...]) -> str:
    return ", ".join(map(_by, shapes))


def _by(sizes: Sequence[object]) -> str:
    return "x".join(map(str, sizes))


def _size(count: int) -> str:
    """Bytes in the largest unit that leaves at least one.

    >>> _size(576), _size(246824)
    ('576', '241.0 KiB')
    """
    power = min(3, (max(1, count).bit_length() - 1) // 10)
    return f"{count / 1024**power:.1f} {' KMG'[power]}iB" if power else str(count)
