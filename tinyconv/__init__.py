"""tinyconv: small convolutional networks without a framework, and a workshop for convolution kernels.

PyTorch's names wherever PyTorch has the thing. Start reading at kernels/conv/reference.py (the definition of
convolution), then forms.py (the rule that makes every gradient) and ops/conv.py (the two put together).
"""

from . import autograd, filters, nn, ops, optim, registry
from .autograd import enable_grad, is_grad_enabled, no_grad
from .ops import *  # noqa: F403
from .ops import __all__ as _ops
from .random import default_generator, get_rng_state, manual_seed, set_rng_state
from .registry import choose, kernel, table, use
from .tensor import Tensor, from_dlpack, from_numpy, tensor
from .tracing import trace
from .tuning import autotune

registry.provide("tinyconv.kernels.conv", "conv", "conv_input_grad", "conv_weight_grad", "unfold", "fold")
registry.provide("tinyconv.kernels.pool", "max_pool", "median_pool", "stochastic_pool", "pool_gather", "pool_scatter",
                 "pool_even_gather", "pool_even_scatter", "avg_pool", "avg_pool_adjoint", "lp_pool", "lp_pool_grad")
registry.provide("tinyconv.kernels.pointwise", "relu_grad", "channel_sum", "bias_relu_grad")
registry.provide("tinyconv.kernels.linear", "linear", "linear_input_grad", "linear_weight_grad")
registry.provide("tinyconv.kernels.sigmoid", "sigmoid", "sigmoid_grad")
registry.provide("tinyconv.kernels.softmax", "softmax_nll")
registry.provide("tinyconv.kernels.indexing", "put", "sum_runs")
registry.provide("tinyconv.kernels.uniform", "uniform")
registry.provide("tinyconv.kernels.norm", "norm", "norm_grad", "response", "response_grad",
                 "channel_window")

__version__ = "0.1.0"
__all__ = [
    "Tensor", "autograd", "autotune", "choose", "default_generator", "enable_grad", "filters", "from_dlpack", "from_numpy",
    "get_rng_state",
    "is_grad_enabled", "kernel", "manual_seed", "nn", "no_grad", "ops", "optim", "set_rng_state", "table", "tensor", "trace",
    "use", *_ops,
]
