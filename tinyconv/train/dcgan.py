"""DCGAN: a generator that makes images out of noise, and a discriminator that tells them from real ones, learn by turns.

    D steps down   -log D(x) - log(1 - D(G(z)))        x real images, z noise (N, noise), D the sigmoid of its logit
    G steps down   -log D(G(z))                        the form that still has a slope where D is sure

Where neither can win, D says 1/2 to everything: its loss is 2 log 2 = 1.386, the generator's log 2 = 0.693.
Every epoch draws its order and its noise from (seed, epoch), so weights and optimisers at the end of one are all that is
needed to go on bit for bit. Source: A. Radford, L. Metz, S. Chintala (2016), section 4; I. Goodfellow et al. (2014), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ..models import Discriminator, Generator
from ..nn import Module
from ..nn.functional import binary_cross_entropy_with_logits
from ..optim import Adam
from ..random import manual_seed
from ..tensor import Tensor, from_numpy, no_grad
from .checkpoint import UNFIT, read_tree, write_tensors, write_tree
from .config import TrainError, one_of
from .problem import PROBLEMS, Folder

NOISE = 100  # numbers an image is made from
BETAS = (0.5, 0.999)  # Radford et al.: with the usual 0.9 the two chase each other


@dataclass(frozen=True, slots=True)
class Game:
    """What a run of DCGAN is told; the same Game gives the same weights bit for bit. width: maps at half the size."""

    data: str = "mnist"
    epochs: int = 5
    batch_size: int = 64
    lr: float = 2e-4
    width: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("data set", self.data, PROBLEMS)
        for name, least in (("epochs", 1), ("batch_size", 2), ("width", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise TrainError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not (isfinite(self.lr) and self.lr > 0):
            raise TrainError(f"lr must be above 0, got {self.lr}")


@dataclass(frozen=True, slots=True)
class Round:
    """An epoch: the mean losses of the two, and the share of real and of made images that the discriminator told right."""

    epoch: int
    discriminator: float
    generator: float
    real_right: float
    made_right: float


class Players:
    """The two networks, an optimiser each, and the epochs done."""

    def __init__(self, game: Game):
        channels, size, _ = PROBLEMS[game.data].image
        manual_seed(game.seed)
        self.game = game
        self.generator = Generator(channels, size, NOISE, game.width)
        self.discriminator = Discriminator(channels, size, game.width)
        self.optimisers = tuple(Adam(m.parameters(), game.lr, betas=BETAS) for m in (self.generator, self.discriminator))
        self.history: list[Round] = []

    def step(self, real: np.ndarray, noise: np.ndarray) -> tuple[float, float, float, float]:
        """A step of each: real (N, C, H, W) float32 in -1..1, noise (N, NOISE). What a Round is the mean of."""
        (makes, judges), made = self.optimisers, self.generator(from_numpy(noise))
        judges.zero_grad()
        of_real, of_made = self.discriminator(from_numpy(real)), self.discriminator(made.detach())
        judged = _loss(of_real, 1) + _loss(of_made, 0)
        judged.backward()
        judges.step()
        makes.zero_grad()
        self.discriminator.requires_grad_(False)  # the slope passes through it and leaves nothing there
        fooled = _loss(self.discriminator(made), 1)
        fooled.backward()
        self.discriminator.requires_grad_(True)
        makes.step()
        return (judged.item(), fooled.item(), float((of_real.numpy() > 0).mean()), float((of_made.numpy() < 0).mean()))

    def samples(self, count: int = 64) -> np.ndarray:
        """Images (count, C, H, W) in 0..1, ink 1, of the noise that is the same for every epoch of a seed."""
        return make(self.generator, count, self.game.seed)

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return {"game": asdict(self.game), "generator": self.generator.state_dict(),
                "discriminator": self.discriminator.state_dict(), "optimisers": [o.state_dict() for o in self.optimisers],
                "history": [asdict(line) for line in self.history]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the end of an epoch. Raises: TrainError where the game was another; more epochs of it are welcome."""
        was = Game(**state["game"])
        for name, value in asdict(self.game).items():
            if name != "epochs" and getattr(was, name) != value:
                raise TrainError(f"this run was begun with {name}={getattr(was, name)}, not {value}: name another folder "
                                 "with --out")
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.history = [Round(**line) for line in state["history"]]


def make(generator: Module, count: int, seed: int = 0) -> np.ndarray:
    """Images (count, C, H, W) float32 in 0..1 that a generator makes of noise drawn from the seed."""
    noise = np.random.default_rng([seed, 0]).standard_normal((count, NOISE), np.float32)
    learns = generator.training
    generator.eval()
    with no_grad():
        images = generator(from_numpy(noise)).numpy()
    generator.train(learns)
    return (images + 1) / 2


def play(game: Game, out: Path, folder: Folder = None, told: Callable[[Players], None] = lambda players: None,
         stop: Callable[[], bool] = lambda: False) -> Players:
    """Let the two learn for `game.epochs`, or go on with what `out` holds.

    After every epoch `out` has generator.safetensors and checkpoint.safetensors, and `told` is called. stop: asked after
    every batch; where it says True, the epoch begun is given up, as the history shows.
    Raises: TrainError where `out` holds another game, or a loss is no longer a number; DataError for missing files.
    """
    players = Players(game)
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists():
        try:
            players.load_state_dict(read_tree(checkpoint))
        except TrainError:
            raise
        except UNFIT as error:
            raise TrainError(f"cannot go on from {checkpoint}: {error}") from error
    problem = PROBLEMS[game.data]
    pixels, _ = problem.load(folder, True)
    if game.batch_size > len(pixels):
        raise TrainError(f"batch_size={game.batch_size} makes no batch: {game.data} has {len(pixels)} training images")
    out.mkdir(parents=True, exist_ok=True)
    for epoch in range(len(players.history) + 1, game.epochs + 1):
        sums, seen = np.zeros(4), 0
        for real, noise in _batches(pixels, problem.scale, game, epoch):
            facts = players.step(real, noise)
            if not np.isfinite(facts).all():
                raise TrainError(f"in epoch {epoch} the losses became {facts[0]} and {facts[1]}: try a smaller --lr than "
                                 f"{game.lr:g}")
            sums, seen = sums + np.multiply(facts, len(real)), seen + len(real)
            if stop():
                return players
        players.history.append(Round(epoch, *(float(s / seen) for s in sums)))
        write_tensors(out / "generator.safetensors", players.generator.state_dict(), asdict(game))
        write_tree(checkpoint, players.state_dict())
        told(players)
    return players


def _batches(pixels: np.ndarray, scale: int, game: Game, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Real images (N, C, H, W) between -1 and 1, as the generator's tanh makes them, and noise (N, NOISE), N the batch."""
    rng = np.random.default_rng([game.seed, epoch])
    order, N = rng.permutation(len(pixels)), game.batch_size
    for start in range(0, len(order) - N + 1, N):  # whole batches: batch normalisation's statistics stay alike
        chosen = pixels[np.sort(order[start:start + N])]
        yield chosen * np.float32(2 / scale) - 1, rng.standard_normal((N, NOISE), np.float32)


def _loss(logits: Tensor, target: int) -> Tensor:
    """-log D where target is 1, -log(1 - D) where it is 0; logits (N, 1)."""
    return binary_cross_entropy_with_logits(logits, from_numpy(np.full(logits.shape, target, np.float32)))
