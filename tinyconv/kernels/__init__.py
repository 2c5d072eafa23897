"""Arrays in, arrays out: the kernels of convolution (conv/), pooling (pool/) and normalisation (norm/), and what they share."""

from ..memory import keep_freed_memory
from .compiled import align_arrays

keep_freed_memory()
align_arrays()
