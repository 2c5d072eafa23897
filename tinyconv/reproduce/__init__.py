"""Published tables, trained again: what each of their rows is, the runs that belong to it, and what they came to.

    result = learn(find("v3"), seed=0, out=Path("runs/mnist-table"))     # goes on where it was stopped
    print(markdown(collect(Path("runs/mnist-table"))))

Read next: table.py, the rows; work.py, how one is trained.
"""

from .record import collect, markdown, measured, write
from .table import BATCH, MNIST_TABLE, Row, find
from .work import Job, jobs, learn

__all__ = ["BATCH", "MNIST_TABLE", "Job", "Row", "collect", "find", "jobs", "learn", "markdown", "measured", "write"]
