"""The ladder of pooling, slowest to fastest.

`direct` stands in four files, by what a window's cells are asked for: the largest (direct.py, and pairs.py for windows of
2x2 side by side), their sum (sums.py), or a rule that needs them all at once (cellwise.py). Every kernel takes a PoolDims or
an AdaptiveDims. `aot` is C, ready at the first call. On a GPU, `cuda` stands in two files.
"""

from ...registry import Kernel, register
from ..geometry import floats_only
from . import aot, cellwise, cuda, cuda_cellwise, direct, reference, sums

# sums in another order than the reference's: m terms differ by m roundings at most, and few cells lie in 32 windows
ORDER = 32.0
RELU = frozenset({"relu"})

LADDER = (
    # choose a cell: (values, indices)
    Kernel("max_pool", "reference", reference.max_pool),
    Kernel("max_pool", "aot", aot.max_pool, refuse=aot.refuse_max),
    Kernel("max_pool", "direct", direct.max_pool, refuse=direct.refuse_max, fuses=RELU),
    Kernel("median_pool", "reference", reference.median_pool),
    Kernel("median_pool", "direct", cellwise.median_pool, refuse=floats_only),
    Kernel("stochastic_pool", "reference", reference.stochastic_pool),
    Kernel("stochastic_pool", "direct", cellwise.stochastic_pool, refuse=floats_only),
    # the linear half of a choice, and its adjoint
    Kernel("pool_gather", "reference", reference.pool_gather),
    Kernel("pool_gather", "aot", aot.pool_gather, refuse=aot.refuse),
    Kernel("pool_gather", "direct", direct.pool_gather, refuse=floats_only),
    Kernel("pool_scatter", "reference", reference.pool_scatter),
    Kernel("pool_scatter", "aot", aot.pool_scatter, refuse=aot.refuse),
    Kernel("pool_scatter", "direct", direct.pool_scatter, refuse=floats_only, fuses=RELU),
    # the same pair for a maximum whose gradient is spread evenly over ties
    Kernel("pool_even_gather", "reference", reference.pool_even_gather),
    Kernel("pool_even_gather", "direct", cellwise.pool_even_gather, refuse=floats_only),
    Kernel("pool_even_scatter", "reference", reference.pool_even_scatter),
    Kernel("pool_even_scatter", "direct", cellwise.pool_even_scatter, refuse=floats_only),
    # sums of windows
    Kernel("avg_pool", "reference", reference.avg_pool),
    Kernel("avg_pool", "aot", aot.avg_pool, refuse=aot.refuse),
    Kernel("avg_pool", "direct", sums.avg_pool, refuse=floats_only),
    Kernel("avg_pool_adjoint", "reference", reference.avg_pool_adjoint),
    Kernel("avg_pool_adjoint", "aot", aot.avg_pool_adjoint, exact=False, bound=ORDER, refuse=aot.refuse),
    Kernel("avg_pool_adjoint", "direct", sums.avg_pool_adjoint, exact=False, bound=ORDER, refuse=floats_only),
    Kernel("lp_pool", "reference", reference.lp_pool),
    Kernel("lp_pool", "direct", sums.lp_pool, exact=False, bound=ORDER, refuse=floats_only),
    Kernel("lp_pool_grad", "reference", reference.lp_pool_grad),
    Kernel("lp_pool_grad", "direct", sums.lp_pool_grad, exact=False, bound=ORDER, refuse=floats_only),
    # on a GPU; each refuses where there is none
    Kernel("max_pool", "cuda", cuda.max_pool, "cuda", cuda.refuse),
    Kernel("median_pool", "cuda", cuda_cellwise.median_pool, "cuda", cuda.refuse),
    Kernel("stochastic_pool", "cuda", cuda_cellwise.stochastic_pool, "cuda", cuda.refuse),
    Kernel("pool_gather", "cuda", cuda.pool_gather, "cuda", cuda.refuse),
    Kernel("pool_scatter", "cuda_anywhere", cuda.pool_scatter_anywhere, "cuda", cuda.refuse, automatic=False),
    Kernel("pool_scatter", "cuda", cuda.pool_scatter, "cuda", cuda.refuse),
    Kernel("pool_even_gather", "cuda", cuda_cellwise.pool_even_gather, "cuda", cuda.refuse),
    Kernel("pool_even_scatter", "cuda", cuda_cellwise.pool_even_scatter, "cuda", cuda.refuse),
    Kernel("avg_pool", "cuda", cuda.avg_pool, "cuda", cuda.refuse),
    Kernel("avg_pool_adjoint", "cuda", cuda.avg_pool_adjoint, "cuda", cuda.refuse),
    Kernel("lp_pool", "cuda", cuda_cellwise.lp_pool, "cuda", cuda.refuse, exact=False, bound=ORDER),
    Kernel("lp_pool_grad", "cuda", cuda_cellwise.lp_pool_grad, "cuda", cuda.refuse, exact=False, bound=ORDER),
)
register(*LADDER)
