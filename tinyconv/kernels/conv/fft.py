"""Convolution as a product of spectra: the three maps are three ways to multiply two of X, W and Y at every frequency.

With a = o*s (positions of y), b = k*d (taps) and a padded x,  T = sum x[a + b] w[b] y[a], so that at every frequency

    Y = X conj(W)^T, summed over c        X = Y W, summed over o        W = conj(Y)^T X, summed over n

y is cut into tiles. Forward, neighbouring tiles read overlapping x (overlap-save); its adjoint, the input gradient, adds
overlapping x back (overlap-add); the weight gradient sums the spectra of all tiles before it transforms back once.
Not exact: BOUND says how far off. A NaN or an infinity spoils the whole tile it stands in.
Source: Mathieu, Henaff and LeCun, "Fast training of convolutional networks through FFTs" (2014).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from itertools import product
from math import prod

import numba
import numpy as np

from ...dims import ConvDims, Ints

# A transform of n cells spreads its rounding, some eps*log2(n)/2 of the root mean square, evenly over the tile. So the error
# is a few eps of what a typical element sums up, for data of one scale; next to one huge cell small sums lose their digits,
# whether a window reads that cell or not.
BOUND = 16.0
LENGTH = {1: 1024, 2: 64, 3: 16}  # of a transform along each axis, by rank; longer where a kernel fills much of it

Tile = tuple[tuple[int, int], ...]  # first and past-the-last position of y along each axis


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Spectra: for every frequency a product (N, C/g) @ (C/g, O/g), however large the kernel.

    A direct sum pays K multiply-adds a cell. Here a cell pays some 2.5 log2(n) operations for each channel that is
    transformed and 8 C*O/(C + O) for the product: it wins for kernels from about 9x9 and loses for 3x3. A stride computes
    every position and keeps one in s*s; a dilation transforms a kernel stretched by zeros. Memory: the spectra of all three.
    """
    y = np.zeros(dims.y_shape, x.dtype)
    if not dims.N:
        return y
    W = _kernel_spectra(w, dims).conj().swapaxes(2, 3)
    for tile in tiles(dims):
        cells = _inverse(_spectra(_window(x, tile, dims), dims) @ W, dims)
        y[:, :, *(slice(*t) for t in tile)] = cells[:, :, *_positions(tile, dims)]
    return y


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Spectra: for every frequency a product (N, O/g) @ (O/g, C/g); tiles are added where they overlap."""
    x = np.zeros(dims.x_shape, y.dtype)
    if not dims.N:
        return x
    W = _kernel_spectra(w, dims)
    for tile in tiles(dims):
        cells = _inverse(_spectra(_stretched(y, tile, dims), dims) @ W, dims)
        inside, source = _overlap(tile, dims)
        x[:, :, *inside] += cells[:, :, *source]
    return x


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Spectra: for every frequency a product (O/g, N) @ (N, C/g), summed over the tiles."""
    if not dims.N:
        return np.zeros(dims.w_shape, x.dtype)
    W = np.zeros((), x.dtype)
    for tile in tiles(dims):
        Y = _spectra(_stretched(y, tile, dims), dims).conj().swapaxes(2, 3)
        W = W + Y @ _spectra(_window(x, tile, dims), dims)
    # (F, G, O/g, C/g) back to (O, C/g, *taps), of which every d-th is one of w's
    spectra = W.transpose(1, 2, 3, 0).reshape(dims.O, -1, *_frequencies(dims))
    taps = _transform("irfftn", spectra, dims)
    return np.ascontiguousarray(taps[:, :, *(slice(0, (k - 1) * d + 1, d) for k, d in zip(dims.kernel, dims.dilation))])


def scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the spectra of one tile of x and y and of all of w, each before and after its axes are turned."""
    numbers = dims.N * (dims.C + dims.O) + dims.O * dims.C // dims.groups
    return 2 * 2 * dtype.itemsize * prod(_frequencies(dims)) * numbers


@lru_cache(maxsize=512)
def lengths(dims: ConvDims) -> Ints:
    """Cells of a transform along each axis: a tile of y and the reach of the kernel, rounded up to a fast size."""
    return tuple(fast_length((t - 1) * s + (k - 1) * d + 1) for t, s, k, d in zip(
        _tile_size(dims), dims.stride, dims.kernel, dims.dilation))


def fast_length(n: int) -> int:
    """The least number of at least n that has no prime factor above 5.

    >>> fast_length(59), fast_length(227)
    (60, 240)
    """
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def _tile_size(dims: ConvDims) -> Ints:
    """Positions of y in a tile along each axis, as equal as they can be."""
    sizes = []
    for outs, s, k, d in zip(dims.output, dims.stride, dims.kernel, dims.dilation):
        reach = (k - 1) * d
        most = max((max(LENGTH[dims.rank], 4 * reach) - reach - 1) // s + 1, 1)
        sizes.append(-(-outs // -(-outs // most)))
    return tuple(sizes)


def tiles(dims: ConvDims) -> Iterator[Tile]:
    """The tiles of y, in order."""
    axes = [[(at, min(at + size, outs)) for at in range(0, outs, size)] for size, outs in zip(_tile_size(dims), dims.output)]
    yield from product(*axes)


def _positions(tile: Tile, dims: ConvDims) -> tuple[slice, ...]:
    """Where the positions of a tile stand in its transform: every s-th cell from 0."""
    return tuple(slice(0, (b - a - 1) * s + 1, s) for (a, b), s in zip(tile, dims.stride))


def _stretched(y: np.ndarray, tile: Tile, dims: ConvDims) -> np.ndarray:
    """The tile of y with s - 1 zeros between its positions."""
    out = np.zeros((dims.N, dims.O, *(p.stop for p in _positions(tile, dims))), y.dtype)
    out[:, :, *_positions(tile, dims)] = y[:, :, *(slice(*t) for t in tile)]
    return out


def _overlap(tile: Tile, dims: ConvDims) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The cells of x that a tile touches, and where they stand in its transform."""
    inside, source = [], []
    for (a, b), size, s, k, d, (lo, _) in zip(tile, dims.input, dims.stride, dims.kernel, dims.dilation, dims.padding):
        first = a * s - lo  # the x of a tile's cell 0, perhaps in the padding
        start, stop = max(first, 0), min(first + (b - a - 1) * s + (k - 1) * d + 1, size)
        inside.append(slice(start, max(start, stop)))
        source.append(slice(start - first, max(start, stop) - first))
    return tuple(inside), tuple(source)


def _window(x: np.ndarray, tile: Tile, dims: ConvDims) -> np.ndarray:
    """The cells of x that a tile reads, zero where they are padding: (N, C, *lengths)."""
    inside, source = _overlap(tile, dims)
    out = np.zeros((dims.N, dims.C, *lengths(dims)), x.dtype)
    out[:, :, *source] = x[:, :, *inside]
    return out


def _spectra(a: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Transforms of the channels of x or y, frequencies first: (N, G*c, *n) -> (F, G, N, c)."""
    hat = _transform("rfftn", a, dims)
    return np.ascontiguousarray(hat.reshape(dims.N, dims.groups, a.shape[1] // dims.groups, -1).transpose(3, 1, 0, 2))


def _kernel_spectra(w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Transforms of w with d - 1 zeros between its taps, frequencies first: (O, C/g, *k) -> (F, G, O/g, C/g)."""
    wide = np.zeros((*w.shape[:2], *((k - 1) * d + 1 for k, d in zip(dims.kernel, dims.dilation))), w.dtype)
    wide[:, :, *(slice(None, None, d) for d in dims.dilation)] = w
    hat = _transform("rfftn", wide, dims).reshape(dims.groups, dims.O // dims.groups, w.shape[1], -1)
    return np.ascontiguousarray(hat.transpose(3, 0, 1, 2))


def _inverse(hat: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Back from _spectra: (F, G, N, c) -> (N, G*c, *lengths)."""
    _, G, N, c = hat.shape
    return _transform("irfftn", hat.transpose(2, 1, 3, 0).reshape(N, G * c, *_frequencies(dims)), dims)


def _frequencies(dims: ConvDims) -> Ints:
    """Frequencies along each axis: of the last only half, as the spectrum of real numbers is symmetric."""
    *rest, last = lengths(dims)
    return (*rest, last // 2 + 1)


def _transform(name: str, a: np.ndarray, dims: ConvDims) -> np.ndarray:
    """rfftn or irfftn over the spatial axes, by SciPy with Numba's number of threads, else by NumPy."""
    n, axes = lengths(dims), tuple(range(2, 2 + dims.rank))
    if find_spec("scipy") is None:
        return getattr(np.fft, name)(a, n, axes)
    from scipy import fft as scipy_fft

    return getattr(scipy_fft, name)(a, n, axes, workers=numba.get_num_threads())
