"""Pictures: how a run learnt and what its first layer looks for, and how a convolution or a pooling is computed.

    learning_curve(training.history, "learning_curve.png")
    draw(conv_scene(conv_dims((1, 1, 5, 5), (1, 1, 3, 3), stride=2, padding=1)), "conv.svg")

Needs matplotlib, which comes with the extra `plot`. Every function here writes one file, in one step.
Read next: curve.py; geometry.py.
"""

from .checkerboard import checkerboard
from .curve import learning_curve
from .draw import draw
from .figure import PlotError
from .geometry import conv_scene, pool_scene, transposed_scene, unpool_scene
from .guide import draw_guide
from .insight import confusion_matrix, labelled_images, layer_maps, range_test, saliency_maps
from .matrix import positions, toeplitz
from .sheet import segmentation, sheet
from .tiles import filters

__all__ = [
    "PlotError", "checkerboard", "confusion_matrix", "conv_scene", "draw", "draw_guide", "filters", "labelled_images",
    "layer_maps", "learning_curve", "pool_scene", "positions", "range_test", "saliency_maps", "segmentation", "sheet",
    "toeplitz", "transposed_scene", "unpool_scene",
]
