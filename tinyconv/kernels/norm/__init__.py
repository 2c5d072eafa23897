"""The ladder of normalisation. A kernel takes a NormDims, which says how batch, layer, instance and group norm are one."""

from ...registry import Kernel, register
from .. import gpu
from ..geometry import floats_only
from . import cuda, direct, reference, response, response_cuda

# both accumulate in float64, in another order; what is left are the roundings of x - mean, times, plus
ORDER = 8.0
RESPONSE = 16.0

LADDER = (
    Kernel("norm", "reference", reference.norm),
    Kernel("norm", "direct", direct.norm, exact=False, bound=ORDER, refuse=floats_only),
    Kernel("norm_grad", "reference", reference.norm_grad),
    Kernel("norm_grad", "direct", direct.norm_grad, exact=False, bound=ORDER, refuse=floats_only,
           scratch=direct.grad_scratch),
    Kernel("norm", "cuda", cuda.norm, "cuda", gpu.refuse, exact=False, bound=ORDER),
    Kernel("norm_grad", "cuda", cuda.norm_grad, "cuda", gpu.refuse, exact=False, bound=ORDER, scratch=cuda.grad_scratch),
    Kernel("channel_window", "reference", response.window),
    Kernel("channel_window", "expressions", response.window, "cuda", gpu.refuse),
    Kernel("response", "reference", response.response),
    Kernel("response_grad", "reference", response.response_grad),
    # one order of the sum or another, a power, a product: some roundings of what is summed
    Kernel("response", "cuda", response_cuda.response, "cuda", gpu.refuse, exact=False, bound=RESPONSE),
    Kernel("response_grad", "cuda", response_cuda.response_grad, "cuda", gpu.refuse, exact=False, bound=RESPONSE,
           scratch=response_cuda.grad_scratch),
)
register(*LADDER)
