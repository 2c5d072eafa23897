"""The MNIST table of M. Nielsen, "Neural Networks and Deep Learning" (2015), chapter 6: its rows, with the book's settings.

All learn by plain gradient descent in batches of 10, from the first 50,000 images or from those expanded to 250,000, and
are judged on the test images by the weights of the epoch that read the last 10,000 best. The book's cost is

    C = mean over the batch of -log p(label) + lmbda/2 * sum(w*w) / batches        batches: of an epoch, 5,000 or 25,000

Its gradient pulls a weight by lmbda/batches * w, so weight_decay = lmbda/batches: 0.1/5,000 = 2e-5, or 0.1/25,000 = 4e-6.
Three things differ: batches are drawn anew in each epoch where the book takes them in the order of the file; of epochs that
read the validation images equally well the one of lower loss counts, not the last; and the random numbers are others.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..names import unknown
from ..train import Config, TrainError

BATCH = 10
TRAIN, VALIDATION = 50_000, 10_000
COPIES = 5  # of the expanded set: each image, and moved in four directions


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table. published: test accuracy in percent. votes: how many networks decide together, if not one;
    those are the ones of the row `of`."""

    name: str
    network: str
    published: float
    config: Config
    votes: int = 1
    of: str = ""


def _config(model: str, lr: float, lmbda: float = 0.0, expanded: bool = False, epochs: int = 60) -> Config:
    batches = TRAIN * (COPIES if expanded else 1) // BATCH
    return Config(data="mnist", model=model, epochs=epochs, batch_size=BATCH, lr=lr, optimizer="sgd", momentum=0.0,
                  weight_decay=lmbda / batches, schedule="constant", label_smoothing=0.0, augment="none",
                  expand=int(expanded), validation=VALIDATION, split="last", threads=0)


V6 = _config("nielsen-v6", 0.03, expanded=True, epochs=40)

MNIST_TABLE = {row.name: row for row in (
    Row("baseline", "784-100-10, sigmoid", 97.80, _config("nielsen-baseline", 0.1)),
    Row("v1", "20C5-P2-100-10, sigmoid", 98.78, _config("nielsen-v1", 0.1)),
    Row("v2", "20C5-P2-40C5-P2-100-10, sigmoid", 99.06, _config("nielsen-v2", 0.1)),
    Row("v3", "the same with ReLU, L2", 99.23, _config("nielsen-v3", 0.03, 0.1)),
    Row("v4", "v3 on 250,000 images", 99.37, _config("nielsen-v3", 0.03, 0.1, expanded=True)),
    Row("v5", "v4 with a second layer of 100", 99.43, _config("nielsen-v5", 0.03, 0.1, expanded=True)),
    Row("v6", "two layers of 1,000, dropout", 99.60, V6),
    Row("v7", "a vote of five of v6", 99.67, V6, votes=5, of="v6"),
)}


def find(name: str) -> Row:
    """The row of this name. Raises: TrainError that lists those there are."""
    if name not in MNIST_TABLE:
        raise TrainError(unknown("row", name, MNIST_TABLE))
    return MNIST_TABLE[name]
