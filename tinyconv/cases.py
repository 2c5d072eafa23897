"""Named problems that the tests and the bench share, so that what is timed is what was checked.

`small` cases try edges and tails in a blink; `layers` are those of well-known networks, for the bench.
"""

from __future__ import annotations

from .dims import ConvDims, PoolDims, conv_dims, conv_transpose_dims, pool_dims

small: dict[str, ConvDims] = {
    "one_pixel": conv_dims((1, 1, 1, 1), (1, 1, 1, 1)),
    "hand": conv_dims((1, 1, 3, 3), (1, 1, 2, 2)),
    "kernel_is_input": conv_dims((2, 3, 5, 4), (4, 3, 5, 4)),
    "half": conv_dims((2, 3, 6, 7), (4, 3, 3, 3), padding="half"),
    "same_stride": conv_dims((2, 3, 7, 8), (4, 3, 3, 2), stride=2, padding="same"),
    "full": conv_dims((1, 2, 4, 5), (3, 2, 3, 2), padding="full"),
    "beyond_full": conv_dims((2, 2, 4, 5), (3, 2, 3, 2), padding=(4, 3)),
    "one_sided": conv_dims((2, 3, 5, 6), (4, 3, 3, 3), padding=((0, 2), (1, 0))),
    "leftover": conv_dims((2, 3, 8, 11), (5, 3, 3, 3), stride=(3, 2)),
    "stride_over_kernel": conv_dims((2, 2, 11, 9), (3, 2, 2, 1), stride=(4, 3)),
    "dilated": conv_dims((2, 3, 11, 10), (4, 3, 3, 3), dilation=(2, 3), padding=(2, 1)),
    "dilated_stride": conv_dims((2, 4, 13, 12), (6, 4, 3, 2), stride=(2, 3), dilation=(3, 2), padding=2),
    "grouped": conv_dims((2, 6, 7, 6), (9, 2, 3, 3), padding=1, groups=3),
    "depthwise": conv_dims((2, 5, 8, 9), (5, 1, 3, 3), padding=1, groups=5),
    "depthwise_twice": conv_dims((2, 3, 9, 8), (6, 1, 3, 3), stride=2, padding=1, groups=3),
    "pointwise": conv_dims((3, 17, 5, 4), (9, 17, 1, 1)),
    "pointwise_stride": conv_dims((2, 6, 7, 7), (8, 6, 1, 1), stride=2),
    "ragged": conv_dims((1, 17, 13, 19), (19, 17, 3, 5), padding=(1, 2)),
    "wide": conv_dims((1, 2, 3, 70), (3, 2, 2, 9), padding=(0, 4)),
    "empty_batch": conv_dims((0, 3, 5, 5), (2, 3, 3, 3)),
    "line": conv_dims((2, 3, 17), (4, 3, 5), stride=2, padding=2),
    "line_dilated": conv_dims((2, 4, 40), (6, 2, 3), dilation=4, groups=2, padding=((8, 0),)),
    "volume": conv_dims((2, 3, 5, 6, 7), (4, 3, 3, 2, 3), padding=(1, 0, 1)),
    "volume_stride": conv_dims((1, 4, 7, 6, 8), (6, 2, 3, 3, 2), stride=(2, 1, 3), padding=1, dilation=(1, 2, 1), groups=2),
    "output_padding": conv_transpose_dims((2, 3, 4, 5), (3, 2, 3, 3), stride=3, padding=1, output_padding=(2, 1)),
    "dilated_output_padding": conv_transpose_dims((1, 3, 4, 4), (3, 2, 3, 3), dilation=3, padding=2, output_padding=2),
}

layers: dict[str, ConvDims] = {
    "lenet.c1": conv_dims((64, 1, 32, 32), (6, 1, 5, 5)),
    "lenet.c3": conv_dims((64, 6, 14, 14), (16, 6, 5, 5)),
    "mnist.c1": conv_dims((64, 1, 28, 28), (20, 1, 5, 5)),
    "mnist.c2": conv_dims((64, 20, 12, 12), (40, 20, 5, 5)),
    "vgg.64": conv_dims((8, 64, 56, 56), (64, 64, 3, 3), padding=1),
    "vgg.128": conv_dims((8, 128, 28, 28), (128, 128, 3, 3), padding=1),
    "vgg.256": conv_dims((8, 256, 14, 14), (256, 256, 3, 3), padding=1),
    "vgg.512": conv_dims((8, 512, 7, 7), (512, 512, 3, 3), padding=1),
    "alexnet.c1": conv_dims((8, 3, 227, 227), (96, 3, 11, 11), stride=4),
    "alexnet.c2": conv_dims((8, 96, 27, 27), (256, 48, 5, 5), padding=2, groups=2),
    "alexnet.c3": conv_dims((8, 256, 13, 13), (384, 256, 3, 3), padding=1),
    "alexnet.c4": conv_dims((8, 384, 13, 13), (384, 192, 3, 3), padding=1, groups=2),
    "alexnet.c5": conv_dims((8, 384, 13, 13), (256, 192, 3, 3), padding=1, groups=2),
    "resnet.1x1": conv_dims((8, 256, 56, 56), (64, 256, 1, 1)),
    "resnet.3x3s2": conv_dims((8, 128, 56, 56), (128, 128, 3, 3), stride=2, padding=1),
    "depthwise": conv_dims((8, 128, 56, 56), (128, 1, 3, 3), padding=1, groups=128),
    "dilated": conv_dims((8, 64, 56, 56), (64, 64, 3, 3), padding=2, dilation=2),
    "line": conv_dims((16, 64, 1024), (64, 64, 9), padding=4),
    "volume": conv_dims((2, 16, 16, 32, 32), (32, 16, 3, 3, 3), padding=1),
}

pools: dict[str, PoolDims] = {
    "plain": pool_dims((2, 3, 6, 8), 2),
    "guide": pool_dims((1, 1, 5, 5), 3, stride=1),
    "overlap": pool_dims((2, 3, 9, 8), 3, stride=2, padding=1),
    "leftover": pool_dims((2, 2, 7, 9), (2, 3), stride=(3, 2)),
    "ceil": pool_dims((2, 2, 7, 8), 3, stride=2, ceil_mode=True),
    "one_sided": pool_dims((1, 2, 6, 6), 3, stride=2, padding=((0, 1), (1, 0))),
    "dilated": pool_dims((1, 2, 10, 11), 3, stride=2, dilation=2, padding=1),
    "deep_padding": pool_dims((1, 1, 5, 6), 3, stride=1, padding=2),
    "line": pool_dims((2, 3, 11), 3, stride=2, padding=1),
    "volume": pool_dims((1, 2, 5, 6, 7), (2, 3, 2), stride=(2, 2, 1), padding=(0, 1, 0)),
    "whole": pool_dims((2, 3, 4, 5), (4, 5)),
    "empty_batch": pool_dims((0, 3, 6, 6), 2),
}
