"""Pictures of a run: how it learnt, and what its first layer looks for. Needs matplotlib, which comes with the extra `plot`.

    learning_curve(training.history, "learning_curve.png")

Every function here writes one PNG, in one step. Read next: curve.py.
"""

from .curve import learning_curve
from .figure import PlotError
from .tiles import filters

__all__ = ["PlotError", "filters", "learning_curve"]
