"""Recurrent cells, one step each, and a layer that sweeps them over an image.

    RNN     h' = tanh(a + c)                                    a = W_ih x + b_ih,  c = W_hh h + b_hh, cut into gates below
    LSTM    c' = sig(f) c + sig(i) tanh(g),  h' = sig(o) tanh(c')                   gates i, f, g, o of a + c
    GRU     n = tanh(a_n + r c_n),  h' = (1 - z) n + z h,  r, z = sig(a + c)        gates r, z, n

Names, order of gates and numerics are PyTorch's. A sequence is projected by W_ih at once, in one product.
Sources: S. Hochreiter, J. Schmidhuber (1997), with the forget gate of F. Gers et al. (2000); K. Cho et al. (2014).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..dims import per_axis
from ..ops import cat, linear, permute, reshape, sigmoid, stack, tanh
from ..ops.fold import unfold
from ..tensor import Tensor
from . import init
from .conv import Size
from .module import Module, Parameter

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "ReNet"]


class _Cell(Module):
    """x (N, input_size) and a state (N, hidden_size), or none for zeros, -> the next state."""

    gates: ClassVar[int]
    states: ClassVar[int] = 1  # tensors in the state: more than one come as a tuple

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        if input_size < 1 or hidden_size < 1:
            raise ValueError(f"{type(self).__name__} wants at least one input and one unit, got {input_size} and {hidden_size}")
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = self.gates * hidden_size
        self.weight_ih, self.weight_hh = Parameter.empty(rows, input_size), Parameter.empty(rows, hidden_size)
        self.bias_ih: Any = Parameter.empty(rows) if bias else None
        self.bias_hh: Any = Parameter.empty(rows) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | None = None) -> None:
        """Draw all weights and biases anew, uniform on [-b, b] with b = 1/sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound, generator)

    def start(self, N: int, x: Tensor) -> Any:
        """The state before the first step: zeros of x's dtype, on its device."""
        return Tensor.wrap(np.zeros_like(x.data, shape=(N, self.hidden_size)))

    def project(self, x: Tensor) -> Tensor:
        """What the input adds to the gates, a: x (..., input_size) -> (..., gates * hidden_size)."""
        return linear(x, self.weight_ih, self.bias_ih)

    def step(self, a: Tensor, state: Any) -> Any:
        """The next state, from the projected input."""
        raise NotImplementedError

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if input.ndim != 2 or input.shape[1] != self.input_size:
            raise ValueError(f"{type(self).__name__} wants an input (N, {self.input_size}), got shape {input.shape}")
        state = self.start(len(input), input) if hx is None else tuple(hx) if isinstance(hx, list) else hx
        parts = state if isinstance(state, tuple) else (state,)
        if len(parts) != self.states or isinstance(state, tuple) != (self.states > 1):
            wanted = "one Tensor" if self.states == 1 else f"a tuple of {self.states} Tensors"
            raise TypeError(f"{type(self).__name__} wants {wanted} as its state, got {type(hx).__name__}")
        for h in parts:
            if h.shape != (len(input), self.hidden_size):
                raise ValueError(f"{type(self).__name__} wants a state ({len(input)}, {self.hidden_size}), got shape {h.shape}")
        return self.step(self.project(input), state)

    def _recur(self, h: Tensor) -> Tensor:
        return linear(h, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias_ih is not None else ", bias=False")


class RNNCell(_Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh): cell(x, h=None) -> h'."""

    gates = 1

    def step(self, a: Tensor, state: Any) -> Tensor:
        return tanh(a + self._recur(state))


class LSTMCell(_Cell):
    """A cell that keeps c unless its gates say otherwise: cell(x, (h, c)=None) -> (h', c')."""

    gates = 4
    states = 2

    def start(self, N: int, x: Tensor) -> Any:
        return super().start(N, x), super().start(N, x)

    def step(self, a: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, g, o = (a + self._recur(h)).chunk(4, 1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c


class GRUCell(_Cell):
    """A cell that mixes its state with a new one: cell(x, h=None) -> h'."""

    gates = 3

    def step(self, a: Tensor, state: Any) -> Tensor:
        d = self.hidden_size
        recurrent = self._recur(state)
        gates = sigmoid(a[:, :2 * d] + recurrent[:, :2 * d])
        r, z = gates[:, :d], gates[:, d:]
        n = tanh(a[:, 2 * d:] + r * recurrent[:, 2 * d:])
        return n + z * (state - n)


CELLS: dict[str, type[_Cell]] = {"rnn": RNNCell, "lstm": LSTMCell, "gru": GRUCell}


class ReNet(Module):
    """Four sweeps over an image: down and up each column of patches, then right and left along each row of what they saw.

    x (N, in_channels, H, W) -> (N, 2 * hidden_size, H/ph, W/pw) for patches of ph x pw, which must divide the image. After
    the second two, every output has seen the whole image. cell: "rnn", "lstm" or "gru".
    Source: F. Visin, K. Kastner, K. Cho, M. Matteucci, A. Courville, Y. Bengio, "ReNet: a recurrent neural network based
    alternative to convolutional networks" (2015), section 2.
    """

    def __init__(self, in_channels: int, hidden_size: int, patch: Size = 2, cell: str = "gru"):
        if cell not in CELLS:
            raise ValueError(f"ReNet sweeps the cells {', '.join(CELLS)}; got {cell!r}")
        make = CELLS[cell]
        self.patch = per_axis("patch", patch, 2)
        size = in_channels * self.patch[0] * self.patch[1]
        self.down, self.up = make(size, hidden_size), make(size, hidden_size)
        self.right, self.left = make(2 * hidden_size, hidden_size), make(2 * hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        ph, pw = self.patch
        if x.ndim != 4 or x.shape[2] % ph or x.shape[3] % pw:
            raise ValueError(f"ReNet wants an input (N, C, H, W) that patches of {ph}x{pw} divide, got shape {x.shape}")
        N, C, H, W = x.shape
        I, J = H // ph, W // pw
        patches = reshape(unfold(x, self.patch, stride=self.patch), N, C * ph * pw, I, J)
        seen = _both(self.down, self.up, permute(patches, 2, 0, 3, 1))  # (I, N, J, K) -> (I, N, J, 2d)
        seen = _both(self.right, self.left, permute(seen, 2, 1, 0, 3))  # (J, N, I, 2d) -> (J, N, I, 2d)
        return permute(seen, 1, 3, 2, 0)

    def extra_repr(self) -> str:
        return f"patch={self.patch}"


def _both(there: _Cell, back: _Cell, x: Tensor) -> Tensor:
    """Two cells swept along the first of x (T, N, M, K), one from each end: (T, N, M, 2 * hidden_size)."""
    T, N, M, K = x.shape
    x = reshape(x, T, N * M, K)
    seen = cat([_sweep(there, x, range(T)), _sweep(back, x, range(T - 1, -1, -1))], 2)
    return reshape(seen, T, N, M, seen.shape[2])


def _sweep(cell: _Cell, x: Tensor, order: range) -> Tensor:
    """The states of a cell that reads x (T, B, K) in this order: (T, B, hidden_size)."""
    gates, state, found = cell.project(x), cell.start(x.shape[1], x), {}
    for t in order:
        state = cell.step(gates[t], state)
        found[t] = state[0] if isinstance(state, tuple) else state
    return stack([found[t] for t in range(len(found))])
