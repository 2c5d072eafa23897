"""Sizes as they are typed: "3", "3x5" or "3,5"; padding also as a word, or with its sides apart: "0+1" or "0+1,2+2".

Read next: shape.py and draw.py, the commands that take them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from ..dims import ConvDims, Ints, PoolDims, conv_dims, conv_transpose_dims, pool_dims

WORDS = ("valid", "same", "half", "full")


@dataclass(frozen=True)
class Geometry:
    """The flags that conv, conv-transpose and pool share, as they were typed."""

    input: str
    kernel: str
    stride: str = ""
    padding: str = "0"
    dilation: str = "1"
    rank: int | None = None

    @property
    def dimensions(self) -> int:
        """As many as the longest list has, else 2; --rank says it for lists of one."""
        given = max(len(_parts(v)) for v in (self.input, self.kernel, self.stride, self.padding, self.dilation))
        return self.rank or (given if given > 1 else 2)

    def all(self, name: str, least: int = 1) -> Ints:
        """One number a dimension."""
        return sizes(getattr(self, name) or "1", self.dimensions, f"--{name}", least)

    def conv(self, channels: Ints, groups: int = 1) -> ConvDims:
        """The dims of the convolution of an image of C channels to O."""
        C, O = channels
        return conv_dims((1, C, *self.all("input")), (O, C // max(1, groups), *self.all("kernel")), self.all("stride"),
                         self._padding(), self.all("dilation"), groups)

    def transposed(self, channels: Ints, groups: int = 1, output_padding: str = "0", output_size: str = "") -> ConvDims:
        """The dims of the convolution that is transposed: it takes C channels, the transposed one O."""
        O, C = channels
        wanted = sizes(output_size, self.dimensions, "--output-size") if output_size else None
        return conv_transpose_dims((1, O, *self.all("input")), (O, C // max(1, groups), *self.all("kernel")),
                                   self.all("stride"), self._padding(),
                                   sizes(output_padding, self.dimensions, "--output-padding", 0), self.all("dilation"), groups,
                                   wanted)

    def pool(self, channels: int = 1, ceil_mode: bool = False) -> PoolDims:
        """The dims of the pooling; its stride is its window where none is given."""
        return pool_dims((1, channels, *self.all("input")), self.all("kernel"), self.all("stride") if self.stride else None,
                         self._padding(), self.all("dilation"), ceil_mode)

    def _padding(self) -> str | tuple[Ints, ...]:
        if self.padding in WORDS:
            return self.padding
        sides = [sizes(part.replace("+", ","), 2, "--padding", 0) for part in _parts(self.padding)]
        if len(sides) not in (1, self.dimensions):
            raise typer.BadParameter(f"--padding {self.padding} is for {len(sides)} dimensions, there are {self.dimensions}")
        return tuple(sides * (self.dimensions if len(sides) == 1 else 1))


def sizes(text: str, count: int, flag: str, least: int = 0, *, alike: bool = True) -> Ints:
    """`count` numbers from "3", "3x5" or "3,5"; where they may be `alike`, one stands for all.

    Raises: BadParameter with the flag and what it takes.
    """
    parts = _parts(text)
    counts = {count, 1} if alike else {count}
    if not all(p.isascii() and p.isdigit() and int(p) >= least for p in parts) or len(parts) not in counts:
        many = f"as in {'x'.join(['3'] * count)},"
        what = "a number" if count == 1 else f"a number, or {count} {many}" if alike else f"{count} numbers {many}"
        raise typer.BadParameter(f"{flag} {text!r} should be {what} of at least {least}")
    return tuple(int(p) for p in parts) * (count if len(parts) == 1 else 1)


@contextmanager
def told() -> Iterator[None]:
    """What the dims or a picture refuse is the user's to mend: told in one line."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _parts(text: str) -> list[str]:
    return text.replace("x", ",").split(",")
