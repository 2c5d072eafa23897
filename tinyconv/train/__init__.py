"""Training: a configuration, the loop that follows it, and the folder that a run leaves.

    config = configure(data="mnist", epochs=1)
    run = Run.create(config)
    training = fit(new_model(config), load(config), config, store=run)

Read next: loop.py.
"""

from .config import RECIPES, Config, TrainError, configure, read_config
from .loop import Epoch, Training, Watch, fit
from .problem import PROBLEMS, Data, Problem, load, new_model, on_device
from .run import Run
from .score import Score, evaluate, predict, vote
from .threads import use_threads

__all__ = ["PROBLEMS", "RECIPES", "Config", "Data", "Epoch", "Problem", "Run", "Score", "TrainError", "Training", "Watch",
           "configure", "evaluate", "fit", "load", "new_model", "on_device", "predict", "read_config", "use_threads", "vote"]
