"""Batches from arrays: shuffled by a seed, prepared ahead by a thread, and resumable in the middle of an epoch.

The randomness of a batch is a function of (seed, epoch, batch) and of nothing else: each epoch's order and each batch's
augmentation have a random stream of their own. So batches are bit for bit the same with or without the thread, whatever
was iterated before, and the state of a loader is a handful of integers.
Read next: augment.py, what to put in `transform`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

import numpy as np

from .augment import draws

Batch = tuple[np.ndarray, ...]
Batches = Generator[Batch, None, None]
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Loader:
    """Iterate over arrays in batches; a pass over the loader is an epoch.

    Args: arrays, one or more of the same length (images and labels, say); batch_size; shuffle, a new order each epoch;
    seed, an int, or a Generator from which one is drawn; drop_last, leave out a last batch that is not full; transform,
    a function (x, rng) -> x applied to each batch of the first array; prefetch, how many batches a background thread
    prepares ahead (0: none, each is made when asked for).
    Yields: tuples with a batch of each array, fresh copies in the arrays' dtypes (the first as the transform made it).
    Raises: ValueError where lengths differ, there is no sample, or an argument is out of range; in the loop, whatever
    the transform raises.

    >>> x, t = np.arange(10.0), np.arange(10)
    >>> loader = Loader(x, t, batch_size=4, shuffle=True, seed=1)
    >>> [len(batch) for batch, _ in loader], len(loader), loader.epoch
    ([4, 4, 2], 3, 1)
    """

    def __init__(self, *arrays: np.ndarray, batch_size: int = 64, shuffle: bool = False,
                 seed: int | np.random.Generator = 0, drop_last: bool = False, transform: Transform | None = None,
                 prefetch: int = 2) -> None:
        self.arrays = tuple(np.asarray(a) for a in arrays)
        self.samples = _common_length(self.arrays)
        self.batch_size = _at_least(1, "batch_size", batch_size)
        self.prefetch = _at_least(0, "prefetch", prefetch)
        if isinstance(seed, np.random.Generator):
            seed = int(seed.integers(2**63))
        self.seed = _at_least(0, "seed", seed)
        if transform is not None and not callable(transform):
            raise ValueError(f"transform must be a function (x, rng) -> x, got {transform!r}")
        if drop_last and self.samples < self.batch_size:
            raise ValueError(f"drop_last leaves no batch: {self.samples} samples do not fill one of {self.batch_size}")
        self.shuffle, self.drop_last, self.transform = bool(shuffle), bool(drop_last), transform
        self._epoch = self._handed_out = 0
        self._resuming = False

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        full, rest = divmod(self.samples, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    @property
    def epoch(self) -> int:
        """The epoch that is running, from 0; between two, the one that comes next."""
        return self._epoch

    def __iter__(self) -> Iterator[Batch]:
        """One epoch, or what is left of it after `load_state_dict`. After a `break` the next pass is the next epoch."""
        if self._handed_out and not self._resuming:
            self._epoch, self._handed_out = self._epoch + 1, 0
        self._resuming = False
        epoch, first = self._epoch, self._handed_out
        batches = self._make(epoch, first)
        with closing(_ahead(batches, self.prefetch) if self.prefetch else batches) as source:
            for handed_out, batch in enumerate(source, first + 1):
                self._epoch, self._handed_out = epoch, handed_out
                yield batch
        self._epoch, self._handed_out = epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands, as integers: the batches handed out count as done, those prepared ahead do not."""
        return {"epoch": self._epoch, "batch": self._handed_out, "seed": self.seed, **self._kind()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a saved state: the next pass gives the batches that were still to come.

        Raises: ValueError where the state is of another kind of loader (other samples, batch_size, shuffle, drop_last).
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ValueError(f"a loader's state has the keys {', '.join(own)}, this one has {', '.join(state)}")
        for key, mine in self._kind().items():
            if state[key] != mine:
                raise ValueError(f"the state is of a loader with {key}={state[key]}, this one has {key}={mine}")
        seed, epoch, batch = (_at_least(0, key, state[key]) for key in ("seed", "epoch", "batch"))
        if batch > len(self):
            raise ValueError(f"the state is after batch {batch} of an epoch, which has {len(self)} here")
        self.seed, self._epoch, self._handed_out, self._resuming = seed, epoch, batch, True

    def _kind(self) -> dict[str, int]:
        return {"samples": self.samples, "batch_size": self.batch_size, "shuffle": int(self.shuffle),
                "drop_last": int(self.drop_last)}

    def _make(self, epoch: int, first: int) -> Batches:
        """The batches of an epoch from number `first` on, each made when asked for."""
        seed, size = self.seed, self.batch_size
        order = _stream(seed, epoch, 0).permutation(self.samples) if self.shuffle else None
        for b in range(first, len(self)):
            at = slice(b * size, (b + 1) * size)
            batch = [a[at].copy() if order is None else a[order[at]] for a in self.arrays]
            if self.transform is not None:
                rng: Any = _stream(seed, epoch, 1 + b) if draws(self.transform) else None  # to start one takes 15 us
                batch[0] = self.transform(batch[0], rng)
            yield tuple(batch)


def _stream(seed: int, epoch: int, use: int) -> np.random.Generator:
    """The random stream of an epoch's order (use 0) or of its batch b (use 1 + b), independent of all the others."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(epoch, use))))


def _ahead(batches: Batches, depth: int) -> Batches:
    """The same batches, up to `depth` of them made ahead by a thread that lives as long as this generator.

    Two queues: the thread takes a permit from `room`, makes a batch and puts it on `ready`; for each batch taken from
    there a permit goes back. What the thread raises travels on `ready` too, and StopIteration is how it tells the end.
    """
    ready: SimpleQueue[Any] = SimpleQueue()
    room: SimpleQueue[bool] = SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        try:
            while room.get() and not stopped.is_set():
                ready.put((next(batches), None))
        except BaseException as error:
            ready.put((None, error))

    # in the caller's context: np.errstate and the kernels pinned there hold in the transform as well
    thread = threading.Thread(target=copy_context().run, args=(work,), name="tinyconv-loader", daemon=True)
    try:
        thread.start()
        for _ in range(depth):
            room.put(True)
        while True:
            batch, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error  # with the traceback it has, which shows the line in the thread
            room.put(True)
            yield batch
    finally:  # the end, an exception, a break, Ctrl-C: the thread finishes at most the batch it is making
        stopped.set()
        room.put(False)
        if thread.is_alive() and thread is not threading.current_thread():  # where garbage collection may bring us
            thread.join()


def _common_length(arrays: Batch) -> int:
    shapes = [a.shape for a in arrays]
    if not shapes or () in shapes:
        raise ValueError(f"a loader needs one or more arrays with a sample axis, got shapes {shapes}")
    if len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"the arrays have different lengths: {', '.join(str(shape[0]) for shape in shapes)}")
    if shapes[0][0] == 0:
        raise ValueError(f"there are no samples: the arrays have shapes {shapes}")
    return shapes[0][0]


def _at_least(least: int, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return int(value)
