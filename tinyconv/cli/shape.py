"""`tinyconv shape`: the arithmetic of a convolution, a transposed one, a pooling or a network, with the numbers put in.

Every figure is a function of tinyconv.arithmetic or a property of the dims; this file only puts them into words.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from rich.table import Table
from rich.text import Text

from ..arithmetic import (
    Field,
    Relationship,
    axes,
    conv_parameters,
    conv_relationship,
    effective_kernel,
    equivalent_conv,
    leftover,
    multiply_adds_inside,
    pool_relationship,
    transposed_relationship,
    transposed_sizes,
    untouched,
)
from ..dims import AXES, ConvDims, Ints, PoolDims
from ..models import find
from ..nn import init
from .geometry import Geometry, sizes, told
from .screen import console

Lines = list[tuple[str, str]]


def conv(geometry: Geometry, channels: Ints, groups: int) -> None:
    """Everything about a convolution of x by w."""
    with told():
        dims = geometry.conv(channels, groups)
    rules, back = [], []
    for axis, o in zip(axes(dims), dims.output):
        rules.append(_rule(conv_relationship(*axis)))
        there = transposed_sizes(o, *axis[1:])
        back.append(("its transpose", f"fills {_span(there)} from {o}" + (
            f", by output_padding {_span(range(len(there)))}; {axis[0]} by {axis[0] - there[0]}" if len(there) > 1 else "")))
    show(f"conv of x {dims.x_shape} by w {dims.w_shape}: y {dims.y_shape}", [
        ("output size", by(dims.output)), *merged(dims, rules), *_unused(dims), *_window(dims), *_costs(dims, dims.O),
        *merged(dims, back)])


def conv_transpose(geometry: Geometry, channels: Ints, groups: int, output_padding: str, output_size: str) -> None:
    """Everything about a transposed convolution, and the direct one that it equals."""
    with told():
        dims = geometry.transposed(channels, groups, output_padding, output_size)
    rules, direct, reach = [], [], []
    for (i, k, s, lo, hi, d), o in zip(axes(dims), dims.output):
        there = transposed_sizes(o, k, s, lo, hi, d)
        a = i - there[0]
        rules.append(_rule(transposed_relationship(o, k, s, lo, hi, d, a)))
        direct.append(("equals the conv", str(equivalent_conv(o, k, s, lo, hi, d, a))))
        reach.append(("output_padding", ", ".join(f"{n} gives {size}{' (here)' * (n == a)}" for n, size in enumerate(there))))
    show(f"conv_transpose of y {dims.y_shape} by w {dims.w_shape}: x {dims.x_shape}", [
        ("output size", by(dims.input)), *merged(dims, rules), *merged(dims, direct), *merged(dims, reach),
        *_costs(dims, dims.C), ("its transpose", f"the conv from {by(dims.input)} to {by(dims.output)} of the same numbers")])


def pool(geometry: Geometry, channels: int, ceil_mode: bool) -> None:
    """Everything about a pooling of x."""
    with told():
        dims = geometry.pool(channels, ceil_mode)
    rules = []
    for axis, o in zip(axes(dims), dims.output):
        rule = pool_relationship(*axis)
        name, text = _rule(rule)
        rules.append((name, text if rule.size == o else f"{text}, and by ceil_mode one that hangs over: {o}"))
    show(f"pool of x {dims.x_shape}: y {dims.y_shape}", [
        ("output size", by(dims.output)), *merged(dims, rules), *([] if ceil_mode else _unused(dims)), *_window(dims),
        ("parameters", "0"), ("cells compared", f"{prod(dims.kernel) * prod(dims.y_shape):,} a sample"),
        ("bytes", f"{dims.bytes():,} of x and y in float32, a sample")])


def model(name: str, image: str, classes: int | None) -> None:
    """The summary of a network of `tinyconv models`."""
    architecture = find(name)
    C, H, W = sizes(image, 3, "--image", 1, alike=False) if image else architecture.image
    with init.skipped():  # nothing is computed: what the weights are does not matter
        network = architecture.build((C, H, W), classes or architecture.classes)
    out = console()
    out.print(Text(network.summary(architecture.sample if architecture.noise else (C, H, W)).text(out.width)), soft_wrap=True)


def _rule(rule: Relationship) -> tuple[str, str]:
    return f"relationship {rule.number}", f"{rule.title}\n{rule.formula}\n= {rule.numbers} = {rule.size}"


def _unused(dims: ConvDims | PoolDims) -> Lines:
    """Rows that the stride leaves over at the end of the padded input, and rows of the input itself that nothing reads."""
    lines = []
    for axis in axes(dims):
        rest, rows = leftover(*axis), untouched(*axis)
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        text = f"{rest} at the end" if rest else "nothing"
        what = "row" + "s" * (len(rows) > 1)  # by number, from 0
        text += f"; of the input itself never read: {what} {shown}" if rows else ", all of it padding" if rest else ""
        lines.append(("left over", text))
    return merged(dims, lines)


def _window(dims: ConvDims | PoolDims) -> Lines:
    """What one output sees, and how far the next one is from it."""
    lines: Lines = []
    for _, k, s, lo, _, d in axes(dims):
        field = Field().conv(k, s, lo, d)
        k_hat = f"; {k} taps, {d} apart, span k^ = {effective_kernel(k, d)}" if d > 1 else ""
        lines.append(("receptive field", f"{field.size}, jump {field.jump}{k_hat}"))
    return merged(dims, lines)


def _costs(dims: ConvDims, out: int) -> Lines:
    """Parameters with a bias for each of the `out` channels, multiply-adds and bytes of one sample."""
    first, second = (dims.C, dims.O) if out == dims.O else (dims.O, dims.C)
    weights = "*".join(map(str, (dims.O, dims.C // dims.groups, *dims.kernel)))
    idle = dims.macs - multiply_adds_inside(dims)
    return [("parameters", f"{conv_parameters(first, second, dims.kernel, dims.groups):,} = {weights} weights "
                           f"+ {out} bias{'es' * (out > 1)}"),
            ("multiply-adds", f"{dims.macs:,} a sample" + (f", {idle:,} of them on padding" if idle else "")),
            ("bytes", f"{dims.bytes():,} of x, w and y in float32, a sample")]


def _span(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def merged(dims: ConvDims | PoolDims, lines: Lines) -> Lines:
    """A line for all dimensions where they agree, else one for each with its name."""
    if len(set(lines)) == 1:
        return lines[:1]
    return [(name, f"{axis}: {text}") for axis, (name, text) in zip(AXES[-dims.rank:], lines)]


def by(numbers: Iterable[object]) -> str:
    """Sizes as in 3x5."""
    return "x".join(map(str, numbers))


def show(title: str, lines: Lines) -> None:
    """A title and two columns."""
    out, table = console(), Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    last = ""
    for name, text in lines:
        table.add_row(Text("  " + (name if name != last else "")), Text(text))
        last = name
    out.print(Text(title, style="bold"), soft_wrap=True)
    out.print(table)
