"""Tables for the CUDA kernels: each of the three maps as a product of matrices that are never written down.

    out[p, j] = sum over k  a[place(p) + term(k)] * w[j*step + w_at(k)]         p a position, j a channel, k = (channel, tap)

The forward convolution is one such product. In the input gradient the taps that reach x[i] are those with k*d = i + p mod s,
so x falls into s phases of cells alike, each a product of its own over its own taps: nothing is multiplied by a zero that
a stride inserted. All phases run in one launch. The weight gradient sums over positions what these sum over k.

Whether a term lies outside of a is one test of bits: a shift by t along one dimension takes some positions over the edge and
others not. Each shift that can has a bit, which `beyond` of a position holds where that shift leaves a from there, and the
bits of a term where it is one of that term's shifts: it is padding where they have a bit in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...dims import ConvDims
from .. import gpu
from ..geometry import before, lift
from ..gpu import GRID, MOST

PHASE = 4  # numbers in a row of `phases`: positions in a sample, terms, first place, first term
PLACE, TERM = 2, 1  # numbers before the bits: of a place its offset in a and its cell in out, of a term its offset
NEVER, ALWAYS = 31, 30  # bits of every place, which terms behind the last one have too; and of every term, for no place
WORDS = (1, 3)  # of bits, 32 each; what is compiled for
LEAST = 16  # channels in a block's tile, at least
SLICE = 16  # terms that are fetched at a time, at most


@dataclass(frozen=True, eq=False)
class Plan:
    """out[n, g, j, cell(p)] = sum over k of a[n, g, place(p) + term(k)] * w[g, j, w_at(k)], for every phase.

    `geometry` is what the kernels read: N, groups, channels of a and of out in a group, cells of a and of out in a channel,
    steps of j and of g in w.
    """

    phases: np.ndarray  # (phases, PHASE) int32
    places: np.ndarray  # (positions of a sample over all phases, PLACE + words) int32
    terms: np.ndarray  # (terms over all phases, TERM + words) int32; each phase's end in SLICE or more that are never met
    w_at: np.ndarray  # (terms over all phases,) int32; -1 for those
    geometry: np.ndarray  # (8,) int32
    N: int
    groups: int
    channels: int  # of out, in a group
    positions: int  # of the largest phase, over all samples
    length: int  # terms of the longest sum
    words: int  # of bits


@dataclass(frozen=True, eq=False)
class Tables:
    """What of a plan lies on the device."""

    phases: Any
    places: Any
    terms: Any
    w_at: Any
    geometry: Any


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """What no kernel on CUDA takes: other dtypes, and arrays that 32-bit indices do not reach."""
    largest = max(prod(dims.x_shape), prod(dims.w_shape), prod(dims.y_shape))
    if largest > MOST:
        return f"an array of {largest:,} elements is beyond the 32-bit indices of the CUDA kernels: split the batch"
    if dims.groups * prod(dims.stride) > GRID:
        return f"{dims.groups} groups and {prod(dims.stride)} phases of the stride are more than a grid's {GRID} layers"
    if max(dims.C, dims.O) // dims.groups > GRID * LEAST:
        return f"{max(dims.C, dims.O) // dims.groups} channels in a group are more than a grid has blocks for, {GRID * LEAST}"
    return gpu.refuse(dims, dtype)


def refuse_long(dims: ConvDims, dtype: np.dtype) -> str:
    """What the kernels that walk these tables do not take besides: tables too long, and more shifts over an edge than bits."""
    rows = max(prod(dims.input), prod(dims.output), max(dims.C, dims.O) // dims.groups * prod(dims.kernel))
    if rows > MOST // (PLACE + WORDS[-1]):
        return f"tables of {rows:,} rows are beyond the 32-bit indices of the CUDA kernels"
    shifts = max(_shifts_outside(axes, size) for axes, size in (_forward(lift(dims)), _input_grad(lift(dims))))
    if shifts > (most := 32 * WORDS[-1] - 2):
        return f"kernel and padding make {shifts} shifts over an edge, and its tables have bits for {most}"
    return refuse(dims, dtype)


def bytes_of_parts(parts: int, dims: ConvDims, dtype: np.dtype) -> int:
    """Scratch of a weight gradient whose sum is cut into parts; one part is the result itself."""
    return parts * prod(dims.w_shape) * np.dtype(dtype).itemsize if parts > 1 else 0


@lru_cache(maxsize=1024)
def forward(dims: ConvDims) -> Plan:
    """One phase: all positions, all taps. w is read in its own order, k after k."""
    d = lift(dims)
    Cg, Og, K = d.C // d.groups, d.O // d.groups, prod(d.kernel)
    return _plan(d, _forward(d), Cg, Og, d.output, K, Cg * K)


@lru_cache(maxsize=1024)
def input_grad(dims: ConvDims) -> Plan:
    """A phase for every remainder of the stride, with the taps that reach it: x[q*s + a] = sum of y[q + t] * w[tap]."""
    d = lift(dims)
    Cg, Og, K = d.C // d.groups, d.O // d.groups, prod(d.kernel)
    return _plan(d, _input_grad(d), Og, Cg, d.input, Cg * K, K)


class _Axis(NamedTuple):
    """Along one dimension the cells start, start + out_step, ... of out, n of them: out[q] takes a[q*in_step + t] by tap k."""

    start: int
    n: int
    in_step: int
    out_step: int
    taps: tuple[tuple[int, int], ...]  # (k, t)

    def outside(self, size: int) -> list[int]:
        """The shifts t that leave an axis of this size from some of the cells."""
        last = (self.n - 1) * self.in_step
        return sorted({t for _, t in self.taps if t < 0 or last + t >= size})


Axes = list[list[_Axis]]  # of each dimension, those of its phases


def _forward(d: ConvDims) -> tuple[Axes, tuple[int, ...]]:
    """The axes of the forward pass, and the size of what they walk."""
    return [[_Axis(0, n, s, 1, tuple((k, k * dil - p) for k in range(size)))]
            for n, s, size, dil, p in zip(d.output, d.stride, d.kernel, d.dilation, before(d))], d.input


def _input_grad(d: ConvDims) -> tuple[Axes, tuple[int, ...]]:
    """The same of the input gradient: i = o*s + k*dil - p, for i = q*s + a, is o = q + (a + p - k*dil)/s, if that divides."""
    axes: Axes = []
    for n, s, size, dil, p in zip(d.input, d.stride, d.kernel, d.dilation, before(d)):
        reach = [[(k, (a + p - k * dil) // s) for k in range(size) if (a + p - k * dil) % s == 0] for a in range(min(s, n))]
        axes.append([_Axis(a, -(-(n - a) // s), 1, s, tuple(taps)) for a, taps in enumerate(reach)])
    return axes, d.output


def _shifts_outside(axes: Axes, size: tuple[int, ...]) -> int:
    """How many bits a phase needs at most: of every dimension the phase that needs the most."""
    return sum(max((len(axis.outside(n)) for axis in phases), default=0) for phases, n in zip(axes, size))


def _plan(d: ConvDims, walked: tuple[Axes, tuple[int, ...]], a_channels: int, channels: int, size: tuple[int, ...], c_step: int,
          j_step: int) -> Plan:
    """The tables for the product of all phases: c_step and j_step lie between channels of a and of out in w."""
    axes, a_size = walked
    words = next((n for n in WORDS if _shifts_outside(axes, a_size) <= 32 * n - 2), WORDS[-1])
    phases: list[tuple[int, ...]] = []
    places: list[np.ndarray] = []
    terms: list[np.ndarray] = []
    w_at: list[np.ndarray] = []
    for phase in product(*axes):
        rows, at = _terms(phase, a_size, d.kernel, words, a_channels, c_step)
        phases.append((prod(axis.n for axis in phase), len(rows), sum(len(p) for p in places), sum(len(t) for t in terms)))
        places.append(_places(phase, a_size, size, words))
        ends = np.zeros((-len(rows) % SLICE + SLICE, TERM + words), np.int64)
        ends[:, TERM] = 1 << NEVER
        terms += [rows, ends]
        w_at += [at, np.full(len(ends), -1)]
    geometry = (d.N, d.groups, a_channels, channels, prod(a_size), prod(size), j_step, prod(d.w_shape) // d.groups)
    return Plan(np.array(phases, np.int32), _int32(places), _int32(terms), _int32(w_at), np.array(geometry, np.int32), d.N,
                d.groups, channels, d.N * max(p[0] for p in phases), max(p[1] for p in phases), words)


def _int32(rows: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(rows).astype(np.uint32).view(np.int32)  # bit 31 is the sign


def _bits(phase: tuple[_Axis, ...], a_size: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """The bit of each shift (dimension, t) that leaves a from some position; NEVER and ALWAYS are left out."""
    shifts = [(i, t) for i, axis in enumerate(phase) for t in axis.outside(a_size[i])]
    return {shift: n if n < ALWAYS else n + 2 for n, shift in enumerate(shifts)}


def _places(phase: tuple[_Axis, ...], a_size: tuple[int, ...], size: tuple[int, ...], words: int) -> np.ndarray:
    """Rows (offset in a channel of a, cell of a channel of out, bits of the shifts that lie outside) of a phase's positions."""
    p = np.indices([axis.n for axis in phase]).reshape(3, -1)
    i, o = ([q * step for q, step in zip(p, steps)] for steps in zip(*((axis.in_step, axis.out_step) for axis in phase)))
    rows = np.zeros((p.shape[1], PLACE + words), np.int64)
    rows[:, 0] = (i[0] * a_size[1] + i[1]) * a_size[2] + i[2]
    o0, o1, o2 = (cells + axis.start for cells, axis in zip(o, phase))
    rows[:, 1] = (o0 * size[1] + o1) * size[2] + o2
    rows[:, PLACE] = 1 << NEVER
    for (dim, t), n in _bits(phase, a_size).items():
        outside = (i[dim] + t < 0) | (i[dim] + t >= a_size[dim])
        rows[:, PLACE + n // 32] |= outside.astype(np.int64) << n % 32
    return rows


def _terms(phase: tuple[_Axis, ...], a_size: tuple[int, ...], kernel: tuple[int, ...], words: int, channels: int,
           c_step: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (offset, bits of its shifts) for each channel of a and each tap, and where in w that is."""
    taps = list(product(*(axis.taps for axis in phase)))
    bits, size = _bits(phase, a_size), prod(a_size)
    rows = np.zeros((channels, len(taps), TERM + words), np.int64)
    at = np.zeros((channels, len(taps)), np.int64)
    for n, ((k0, t0), (k1, t1), (k2, t2)) in enumerate(taps):
        rows[:, n, 0] = np.arange(channels) * size + (t0 * a_size[1] + t1) * a_size[2] + t2
        at[:, n] = np.arange(channels) * c_step + (k0 * kernel[1] + k1) * kernel[2] + k2
        rows[:, n, TERM] = 1 << ALWAYS
        for bit in (bits[shift] for shift in enumerate((t0, t1, t2)) if shift in bits):
            rows[:, n, TERM + bit // 32] |= 1 << bit % 32
    return rows.reshape(-1, TERM + words), at.ravel()


@gpu.remembered(256)
def tables(plan: Plan) -> Tables:
    """The tables of a plan, copied to the device once."""
    return Tables(*(gpu.to_device(a.ravel()) for a in (plan.phases, plan.places, plan.terms, plan.w_at, plan.geometry)))
