"""Arrays in, arrays out: the kernels of convolution (conv/) and pooling (pool/), and what they share."""
