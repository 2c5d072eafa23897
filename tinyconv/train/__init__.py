"""Training: a configuration, the loop that follows it, and the folder that a run leaves.

    config = configure(data="mnist", epochs=1)
    run = Run.create(config)
    training = fit(new_model(config), load(config), config, store=run)

Read next: loop.py.
"""

from .config import RECIPES, Config, TrainError, configure, read_config
from .insight import abridged, layer_maps, saliency, worst
from .loop import Epoch, Training, Watch, fit
from .lr_range import LrRange, lr_range
from .objective import OBJECTIVES, ImageScore, PixelScore, confusion, iou, mean_iou, pixel_accuracy
from .problem import PROBLEMS, Data, Problem, load, new_model, on_device, task_of
from .run import Run
from .score import Score, evaluate, predict, vote
from .threads import use_threads

__all__ = [
    "OBJECTIVES", "PROBLEMS", "RECIPES", "Config", "Data", "Epoch", "ImageScore", "LrRange", "PixelScore", "Problem", "Run",
    "Score", "TrainError", "Training", "Watch", "abridged", "configure", "confusion", "evaluate", "fit", "iou", "layer_maps",
    "load", "lr_range", "mean_iou", "new_model", "on_device", "pixel_accuracy", "predict", "read_config", "saliency", "task_of",
    "use_threads", "vote", "worst",
]
