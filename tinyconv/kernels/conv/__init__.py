"""The ladder of convolution, slowest to fastest: one algorithm a file, its three maps side by side."""

from ...registry import Kernel, register
from . import reference

LADDER = (
    Kernel("conv", "reference", reference.conv),
    Kernel("conv_input_grad", "reference", reference.conv_input_grad),
    Kernel("conv_weight_grad", "reference", reference.conv_weight_grad),
)
register(*LADDER)
