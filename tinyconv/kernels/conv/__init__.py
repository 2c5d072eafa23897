"""The ladder of convolution, slowest to fastest: one algorithm a file, its three maps side by side."""

from ...registry import Kernel, register
from ..geometry import floats_only
from . import aot, direct, fft, im2col, kn2row, reference, simd, toeplitz, winograd, winograd_weights, zero_insertion

BIAS = frozenset({"bias"})
BIAS_RELU = frozenset({"bias", "relu"})

LADDER = (
    Kernel("conv", "reference", reference.conv),
    Kernel("conv_input_grad", "reference", reference.conv_input_grad),
    Kernel("conv_weight_grad", "reference", reference.conv_weight_grad),
    Kernel("conv", "toeplitz", toeplitz.conv, refuse=toeplitz.refuse, scratch=toeplitz.scratch, automatic=False),
    Kernel("conv_input_grad", "toeplitz", toeplitz.conv_input_grad, refuse=toeplitz.refuse, scratch=toeplitz.scratch,
           automatic=False),
    Kernel("conv_weight_grad", "toeplitz", toeplitz.conv_weight_grad, refuse=toeplitz.refuse, scratch=toeplitz.scratch,
           automatic=False),
    Kernel("conv_input_grad", "zero_insertion", zero_insertion.conv_input_grad, refuse=floats_only,
           scratch=zero_insertion.scratch_x, automatic=False),
    Kernel("conv_weight_grad", "zero_insertion", zero_insertion.conv_weight_grad, refuse=floats_only,
           scratch=zero_insertion.scratch_w, automatic=False),
    Kernel("conv", "direct", direct.conv, refuse=floats_only, fuses=BIAS),
    Kernel("conv_input_grad", "direct", direct.conv_input_grad, refuse=floats_only),
    Kernel("conv_weight_grad", "direct", direct.conv_weight_grad, refuse=floats_only),
    Kernel("conv", "kn2row", kn2row.conv, scratch=kn2row.scratch, automatic=False),
    Kernel("conv_input_grad", "kn2row", kn2row.conv_input_grad, scratch=kn2row.scratch, automatic=False),
    Kernel("conv_weight_grad", "kn2row", kn2row.conv_weight_grad, scratch=kn2row.scratch, automatic=False),
    Kernel("conv", "fft", fft.conv, refuse=floats_only, exact=False, bound=fft.BOUND, scratch=fft.scratch, automatic=False),
    Kernel("conv_input_grad", "fft", fft.conv_input_grad, refuse=floats_only, exact=False, bound=fft.BOUND,
           scratch=fft.scratch, automatic=False),
    Kernel("conv_weight_grad", "fft", fft.conv_weight_grad, refuse=floats_only, exact=False, bound=fft.BOUND,
           scratch=fft.scratch, automatic=False),
    Kernel("conv", "im2col", im2col.conv, refuse=floats_only, scratch=im2col.scratch, fuses=BIAS),
    Kernel("conv_input_grad", "im2col", im2col.conv_input_grad, refuse=floats_only, scratch=im2col.scratch),
    Kernel("conv_weight_grad", "im2col", im2col.conv_weight_grad, refuse=floats_only, scratch=im2col.weight_scratch),
    Kernel("conv", "aot", aot.conv, refuse=aot.refuse, scratch=aot.scratch_bytes(aot.FORWARD), fuses=BIAS_RELU),
    Kernel("conv_input_grad", "aot", aot.conv_input_grad, refuse=aot.refuse, scratch=aot.scratch_bytes(aot.INPUT_GRAD),
           fuses=BIAS_RELU),
    Kernel("conv_weight_grad", "aot", aot.conv_weight_grad, refuse=aot.refuse, scratch=aot.scratch_bytes(aot.WEIGHT_GRAD)),
    Kernel("conv", "simd", simd.conv, refuse=simd.refuse, scratch=simd.scratch_bytes(simd.forward), fuses=BIAS_RELU),
    Kernel("conv_input_grad", "simd", simd.conv_input_grad, refuse=simd.refuse, scratch=simd.scratch_bytes(simd.input_grad),
           fuses=BIAS_RELU),
    Kernel("conv_weight_grad", "simd", simd.conv_weight_grad, refuse=simd.refuse, scratch=simd.scratch_bytes(simd.weight_grad)),
    Kernel("conv", "winograd", winograd.conv, refuse=winograd.refuse(winograd.forward), exact=False, bound=winograd.BOUND,
           scratch=winograd.scratch_bytes(winograd.forward), fuses=BIAS_RELU),
    Kernel("conv_input_grad", "winograd", winograd.conv_input_grad, refuse=winograd.refuse(winograd.input_grad), exact=False,
           bound=winograd.BOUND, scratch=winograd.scratch_bytes(winograd.input_grad), fuses=BIAS_RELU),
    Kernel("conv_weight_grad", "winograd", winograd_weights.conv_weight_grad,
           refuse=winograd.refuse(winograd.forward, winograd_weights.LEAST_TILES), exact=False, bound=winograd.BOUND,
           scratch=winograd_weights.scratch_bytes),
    # the copy that im2col makes, and its adjoint, on their own
    Kernel("unfold", "reference", reference.unfold),
    Kernel("unfold", "im2col", im2col.im2col, refuse=floats_only),
    Kernel("fold", "reference", reference.fold),
    Kernel("fold", "im2col", im2col.col2im, refuse=floats_only),
)
register(*LADDER)
