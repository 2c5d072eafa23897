"""`tinyconv dcgan`: two networks against each other, and a sheet of what one of them makes after every epoch."""

from __future__ import annotations

from pathlib import Path

from .. import plot
from ..train import use_threads
from ..train.dcgan import Game, Players, play
from ..train.interrupt import Interrupt
from .screen import console
from .stderr import note

HEADINGS = "epoch   discriminator   generator   real told   made told"

COLUMNS = 8  # images side by side on a sheet


def dcgan(game: Game, threads: int, out: Path, data_dir: Path | None) -> int:
    """Train, or go on in `out`; returns the exit status: 0, or 130 where Ctrl-C ended it before its time."""
    use_threads(threads)
    screen = console()

    def told(players: Players) -> None:
        line = players.history[-1]
        screen.print(f"{line.epoch:>3}/{game.epochs:<3}   {line.discriminator:11.4f}   {line.generator:9.4f}   "
                     f"{100 * line.real_right:7.1f} %   {100 * line.made_right:7.1f} %")
        made = 1 - players.samples()  # dark on white
        try:
            plot.sheet([*made.reshape(-1, COLUMNS, *made.shape[1:])], out / f"samples-{line.epoch:03d}.png",
                       title=f"{game.data}, epoch {line.epoch}")
        except plot.PlotError as error:
            note(str(error))

    screen.print(HEADINGS, style="bold")
    with Interrupt() as stop:
        players = play(game, out, data_dir, told, stop)
    if len(players.history) < game.epochs:
        screen.print("\nstopped; the same command goes on from the last whole epoch")
        return 130
    screen.print(f"\nleft in [bold]{out}/[/]: samples-NNN.png, generator.safetensors, and checkpoint.safetensors to go on from",
                 soft_wrap=True)
    return 0
