"""The geometry of a convolution or a pooling, worked out once and carried as one frozen record.

Both follow one index relation, in every spatial dimension on its own (i input, k kernel, o output position):

    i = o*stride + k*dilation - padding_lo

A ConvDims is always that of the *forward* convolution x -> y, whichever of the three maps it is handed to. A transposed
convolution is the map that fills x, so `conv_transpose_dims` gives the same record, with an x size the caller chose.
Sizes follow Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2018), relationships 1 to 15.
Read next: kernels/conv/reference.py, the three maps written as their definition.
"""

from .conv import ConvDims, conv_dims, conv_transpose_dims
from .pool import AdaptiveDims, AnyPool, NormDims, PoolDims, adaptive_dims, pool_dims
from .sizes import AXES, Ints, Padding, Pairs, freeze, output_size, per_axis, resolve_padding, transposed_size

__all__ = [
    "AXES", "AdaptiveDims", "AnyPool", "ConvDims", "Ints", "NormDims", "Padding", "Pairs", "PoolDims", "adaptive_dims",
    "conv_dims", "conv_transpose_dims", "freeze", "output_size", "per_axis", "pool_dims", "resolve_padding",
    "transposed_size",
]
