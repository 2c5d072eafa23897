"""A kernel of your own in a few lines: `tinyconv bench --kernel bench/my_kernel.py` checks it, then times it.

A kernel fills one slot of the form T(x, w, y) from the other two: arrays and a ConvDims in, a new array out. What it does
not do it refuses, with a sentence; on every case that it does not refuse it must agree with the definition.
This one computes y = conv(x, w) by one einsum over a view of all windows. Nothing is copied, but einsum multiplies numbers
that lie far apart: see by how much im2col, which copies them together first, is faster.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import tinyconv


def refuse(dims, dtype):
    """"" or why not."""
    if dims.groups > 1:
        return "it knows no groups"
    if max(dims.dilation) > 1:
        return "it knows no dilation"
    return ""


@tinyconv.kernel("conv", "mine", refuse=refuse)
def conv(x, w, dims):
    """y[n, o, oh, ow] = sum over c, kh, kw of windows[n, c, oh, ow, kh, kw] * w[o, c, kh, kw]; any rank."""
    x = np.pad(x, [(0, 0), (0, 0), *dims.padding])
    windows = sliding_window_view(x, dims.kernel, axis=tuple(range(2, x.ndim)))
    windows = windows[:, :, *(slice(0, o * s, s) for o, s in zip(dims.output, dims.stride))]
    positions, taps = "DHW"[:dims.rank], "dhw"[:dims.rank]
    return np.einsum(f"nc{positions}{taps},oc{taps}->no{positions}", windows, w)
