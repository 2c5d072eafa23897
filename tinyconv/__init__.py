"""tinyconv: small convolutional networks without a framework, and a workshop for convolution kernels."""

from . import registry
from .registry import choose, kernel, table, use

registry.provide("tinyconv.kernels.conv", "conv", "conv_input_grad", "conv_weight_grad")

__version__ = "0.1.0"
__all__ = ["choose", "kernel", "table", "use"]
