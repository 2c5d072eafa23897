"""Arrays in, arrays out: the kernels of convolution (conv/), pooling (pool/) and normalisation (norm/), and what they share."""

from ..memory import keep_freed_memory

keep_freed_memory()
