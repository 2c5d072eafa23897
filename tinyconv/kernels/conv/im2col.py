"""Convolution as a matrix product: the patches of x are copied into the columns of a matrix, and BLAS does the sums.

    y[n] = w @ cols[n]        w as (O, C*K), cols[n] as (C*K, P): K = KH*KW taps, P = OH*OW positions; groups apart
    cols[n, (c, kh, kw), (oh, ow)] = x[n, c, ih, iw]        over  ih = oh*sh + kh*dh - ph,  iw likewise; zero outside x

`im2col` copies, and its adjoint `col2im` adds back; the three maps are w @ cols, col2im(w.T @ y) and y @ cols.T.
Each cell of x is copied up to K times, which is the price; a block of samples (or of positions) at a time keeps the copy
small and in cache. The copying is compiled but not parallel: waiting threads of Numba would keep BLAS's off the cores.
The sums are BLAS's: the same bits in every run, but only with the same number of its threads.
Source: Chellapilla, Puri, Simard, "High performance convolutional neural networks for document processing" (2006).
Read next: simd.py, the same sums at the same rate with no copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from ...dims import ConvDims
from ..geometry import before, lift, plain, reaches, unsigned
from ..jit import njit

LIMIT = 1 << 21  # bytes of patches at a time: what stays in a core's own cache


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims, *, bias: np.ndarray | None = None) -> np.ndarray:
    """Patches and BLAS: a product (O/g, C/g*K) @ (C/g*K, P) for every sample and group, straight into y.

    direct loads x, and loads and stores y, for every multiply-add; kn2row goes over y K times. A matrix product keeps a
    tile of y in registers through all C/g*K terms. It costs the patches: each cell of x written up to K times and read back.
    """
    y = np.empty(dims.y_shape, x.dtype)
    N, G, Og, P = _grouped(dims)
    x, w, ys = plain(x, lift(dims).x_shape), w.reshape(G, Og, -1), y.reshape(N, G, Og, P)
    for n, box in blocks(dims, x.dtype):
        cols, out = _patches(x[n], box, dims), ys[n, ..., _run(box, dims)]
        np.matmul(w, cols.reshape(len(cols), G, w.shape[2], -1), out=out)
        if bias is not None:
            out += bias.reshape(G, Og, 1)
        del cols  # before the next are made
    return y


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Patches and BLAS: a product (C/g*K, O/g) @ (O/g, P) for every sample and group, added back by col2im."""
    x = np.zeros(dims.x_shape, y.dtype)
    N, G, Og, P = _grouped(dims)
    xs, w, ys = x.reshape(lift(dims).x_shape), w.reshape(G, Og, -1).transpose(0, 2, 1), y.reshape(N, G, Og, P)
    for n, box in blocks(dims, y.dtype):
        at = _run(box, dims)
        if is_pointwise(dims):
            np.matmul(w, ys[n, ..., at], out=x.reshape(N, G, -1, P)[n, ..., at])
        else:
            _add_back(np.matmul(w, ys[n, ..., at]), xs[n], box, dims)
    return x


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Patches and BLAS: one product (O/g, n*P) @ (n*P, C/g*K) for every block of n samples and every group."""
    N, G, Og, P = _grouped(dims)
    w = np.zeros((G, Og, dims.C // G * prod(dims.kernel)), x.dtype)
    x, ys = plain(x, lift(dims).x_shape), y.reshape(N, G, Og, P)
    for n, box in blocks(dims, x.dtype):
        cols = _patches(x[n], box, dims, samples_inside=True)  # (C*K, n, P): a row holds every sample
        rows = ys[n, ..., _run(box, dims)].transpose(1, 2, 0, 3).reshape(G, Og, -1)
        w += rows @ cols.reshape(G, w.shape[2], -1).transpose(0, 2, 1)
        del cols, rows  # before the next are made
    return w.reshape(dims.w_shape)


def im2col(x: np.ndarray, dims: ConvDims) -> np.ndarray:
    """The patches of x (N, C, *input) as columns (N, C*K, P): one row for every channel and tap, one column a position.

    Cells outside x are zero. Any stride, padding and dilation; a group is a run of C/g*K rows.

    >>> from tinyconv.dims import conv_dims
    >>> dims = conv_dims((1, 1, 2, 3), (1, 1, 2, 2))
    >>> im2col(np.arange(6.0).reshape(1, 1, 2, 3), dims)[0]
    array([[0., 1.],
           [1., 2.],
           [3., 4.],
           [4., 5.]])
    """
    d = lift(dims)
    cols = _patches(plain(x, d.x_shape), tuple(slice(0, size) for size in d.output), dims)
    return cols.copy() if is_pointwise(dims) else cols


def col2im(cols: np.ndarray, dims: ConvDims) -> np.ndarray:
    """The adjoint of im2col: each entry of cols (N, C*K, P) added to the cell of x (N, C, *input) that it was copied from.

    <im2col(x), cols> = <x, col2im(cols)>. The order of the sums is fixed, so the result is the same in every run.

    >>> from tinyconv.dims import conv_dims
    >>> dims = conv_dims((1, 1, 2, 3), (1, 1, 2, 2))
    >>> col2im(np.ones((1, 4, 2)), dims)[0, 0]  # how often each cell was copied
    array([[1., 2., 1.],
           [1., 2., 1.]])
    """
    d = lift(dims)
    x = np.zeros(dims.x_shape, cols.dtype)
    _add_back(cols, x.reshape(d.x_shape), tuple(slice(0, size) for size in d.output), dims)
    return x


def scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the patches of the largest block, which is the first; those of a pointwise convolution are x itself."""
    return 0 if is_pointwise(dims) else _first(dims, dtype)[1] * dims.C * prod(dims.kernel) * np.dtype(dtype).itemsize


def weight_scratch(dims: ConvDims, dtype: np.dtype) -> int:
    """Bytes of the weight gradient: patches, and y in their order where samples lie side by side, and the sum of a block."""
    samples, columns = _first(dims, dtype)
    x = 0 if is_pointwise(dims) and samples == 1 else dims.C * prod(dims.kernel)
    return (columns * (x + dims.O * (samples > 1)) + prod(dims.w_shape)) * np.dtype(dtype).itemsize


def _first(dims: ConvDims, dtype: np.dtype) -> tuple[int, int]:
    """The samples and the columns of the first block."""
    for n, box in blocks(dims, dtype):
        return n.stop - n.start, (n.stop - n.start) * prod(_sizes(box))
    return 0, 0


def is_pointwise(dims: ConvDims) -> bool:
    """Whether every patch is one cell and every cell a patch: then x is its own im2col, and nothing is copied."""
    return prod(dims.kernel) == prod(dims.stride) == 1 and dims.input == dims.output and not any(map(any, dims.padding))


Box = tuple[slice, ...]


def blocks(dims: ConvDims, dtype: np.dtype) -> Iterator[tuple[slice, Box]]:
    """Samples, and a box of output positions in three dimensions, whose patches fill at most LIMIT bytes (or one column).

    Many samples whole, or else one sample in boxes of planes, of lines or of parts of a line: a run of positions, always.
    """
    for n, *box in _boxes((dims.N, *lift(dims).output), _columns(dims, dtype)):
        yield n, tuple(box)


def _boxes(sizes: tuple[int, ...], most: int) -> Iterator[Box]:
    """Boxes of at most `most` cells that tile an array of these sizes in its order in memory."""
    inside = prod(sizes[1:])
    if inside > most:
        for i in range(sizes[0]):
            for rest in _boxes(sizes[1:], most):
                yield slice(i, i + 1), *rest
    elif sizes[0]:
        pieces = -(-sizes[0] // (most // inside))
        step = -(-sizes[0] // pieces)  # even pieces: none is left much smaller than the others
        for i in range(0, sizes[0], step):
            yield slice(i, min(i + step, sizes[0])), *(slice(0, size) for size in sizes[1:])


def _run(box: Box, dims: ConvDims) -> slice:
    """The positions of a box as a slice of the flattened positions of y."""
    _, OH, OW = lift(dims).output
    start = (box[0].start * OH + box[1].start) * OW + box[2].start
    return slice(start, start + prod(_sizes(box)))


def _sizes(box: Box) -> tuple[int, ...]:
    return tuple(s.stop - s.start for s in box)


def _columns(dims: ConvDims, dtype: np.dtype) -> int:
    """How many columns, of C*K numbers each, fit into LIMIT bytes; 1 where not even that does."""
    return max(1, LIMIT // (dims.C * prod(dims.kernel) * np.dtype(dtype).itemsize))


def _grouped(dims: ConvDims) -> tuple[int, int, int, int]:
    """The shape of y with its channels in groups and its positions in a row: N, G, O/g, P."""
    return dims.N, dims.groups, dims.O // dims.groups, prod(dims.output)


def _patches(x: np.ndarray, box: Box, dims: ConvDims, samples_inside: bool = False) -> np.ndarray:
    """The patches of these (lifted) samples at the positions of a box: (n, C*K, P), or (C*K, n, P)."""
    n, C = x.shape[:2]
    d, K = lift(dims), prod(dims.kernel)
    if is_pointwise(dims):
        cols = x.reshape(n, C, prod(d.input))[..., _run(box, dims)]
        return cols.transpose(1, 0, 2) if samples_inside else cols
    if not samples_inside:  # planes are copied alike, whatever channel or sample: n*C planes come out sample by sample
        x = x.reshape(1, n * C, *d.input)
    cols = np.empty((x.shape[1], K, x.shape[0], *_sizes(box)), x.dtype)
    _gather(x, cols, d.kernel, d.stride, d.dilation, _shifted(box, d))
    return cols.reshape(C * K, n, -1) if samples_inside else cols.reshape(n, C * K, prod(_sizes(box)))


def _add_back(cols: np.ndarray, x: np.ndarray, box: Box, dims: ConvDims) -> None:
    """Add the patches of these samples at the positions of a box, (n, C*K, P), to the (lifted) x they were copied from."""
    d, planes = lift(dims), x.shape[0] * x.shape[1]
    cols = plain(cols, (planes, prod(dims.kernel), 1, *_sizes(box)))
    _scatter(cols, x.reshape(1, planes, *d.input), d.kernel, d.stride, d.dilation, _shifted(box, d))


def _shifted(box: Box, dims: ConvDims) -> tuple[int, ...]:
    """The padding that makes the first position of the box position 0: i = (o + start)*s + k*d - p."""
    return tuple(p - b.start * s for p, b, s in zip(before(dims), box, dims.stride))


@njit
def _gather(x, cols, kernel, stride, dilation, pad):
    """cols (C, K, N, OD, OH, OW) = the patches of x (N, C, D, H, W)."""
    C, K, N = cols.shape[:3]
    sd, sh, sw = unsigned(stride)
    for c in range(C):
        for k in range(K):
            (yd, xd, nd), (yh, xh, nh), (yw, xw, nw) = reaches(
                _tap(k, kernel), x.shape[2:], cols.shape[3:], stride, dilation, pad)
            for n in range(N):
                src, dst = x[n, c], cols[c, k, n]
                if nd * nh * nw < dst.size:
                    dst[:] = 0
                for d in range(nd):
                    for h in range(nh):
                        for w in range(nw):
                            dst[yd + d, yh + h, yw + w] = src[xd + d * sd, xh + h * sh, xw + w * sw]


@njit
def _scatter(cols, x, kernel, stride, dilation, pad):
    """The adjoint of _gather: x += every entry of cols that was copied from it, tap after tap."""
    C, K, N = cols.shape[:3]
    sd, sh, sw = unsigned(stride)
    for c in range(C):
        for k in range(K):
            (yd, xd, nd), (yh, xh, nh), (yw, xw, nw) = reaches(
                _tap(k, kernel), x.shape[2:], cols.shape[3:], stride, dilation, pad)
            for n in range(N):
                src, dst = cols[c, k, n], x[n, c]
                for d in range(nd):
                    for h in range(nh):
                        for w in range(nw):
                            dst[xd + d * sd, xh + h * sh, xw + w * sw] += src[yd + d, yh + h, yw + w]


@njit(inner=True)
def _tap(k, kernel):
    """Tap k of a row as (kd, kh, kw)."""
    return k // (kernel[1] * kernel[2]), k // kernel[2] % kernel[1], k % kernel[2]
