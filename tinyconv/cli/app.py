"""The commands and their flags. Each is one file, imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from .. import __version__
from . import study

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False,
                  help="Train small convolutional networks, and see how convolution is computed.")

TOLD = {"show_default": False, "rich_help_panel": "What to train, and how (by default as is known to work on the data set)"}
DataDir = Annotated[Path | None, Option(help="Where the files of MNIST or Fashion-MNIST lie. By default $TINYCONV_DATA, "
                                             "then a download.", show_default=False)]
RunFolder = Annotated[Path, Argument(metavar="RUN", help="The folder of a run, such as runs/digits-1.", show_default=False)]
Device = Annotated[str, Option(help="cpu or cuda, wherever the run was trained.")]
Best = Annotated[bool, Option("--best", help="Use the weights of the best epoch instead of the last.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tinyconv {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, Option("--version", is_eager=True, callback=_version,
                                          help="Print the version and exit.")] = False) -> None:
    pass


@app.command()
def train(
    data: Annotated[str | None, Option(help="digits (8x8, in the package), mnist, fashion-mnist or scenes.", **TOLD)] = None,
    model: Annotated[str | None, Option(help="A network by name: see `tinyconv models`.", **TOLD)] = None,
    epochs: Annotated[int | None, Option(help="Passes over the training samples.", **TOLD)] = None,
    batch_size: Annotated[int | None, Option(help="Samples to a step.", **TOLD)] = None,
    lr: Annotated[float | None, Option(help="Learning rate, the highest that the schedule reaches.", **TOLD)] = None,
    optimizer: Annotated[str | None, Option(help="sgd, adagrad, rmsprop, adam or adamw.", **TOLD)] = None,
    momentum: Annotated[float | None, Option(help="Of sgd (Nesterov's, unless 0) and rmsprop.", **TOLD)] = None,
    weight_decay: Annotated[float | None, Option(help="Pull of the weights towards 0.", **TOLD)] = None,
    schedule: Annotated[str | None, Option(help="constant, step, cosine, warmup-cosine or one-cycle.", **TOLD)] = None,
    label_smoothing: Annotated[float | None, Option(help="Share of the target spread over all classes.", **TOLD)] = None,
    augment: Annotated[str | None, Option(help='"none", or of shift:PIXELS and flip, with commas.', **TOLD)] = None,
    expand: Annotated[int | None, Option(help="Add every training image moved by so many pixels, four ways.", **TOLD)] = None,
    validation: Annotated[int | None, Option(help="Training samples held back to watch the run by.", **TOLD)] = None,
    split: Annotated[str | None, Option(help='Which those are: "stratified", or the "last" of the file.', **TOLD)] = None,
    patience: Annotated[int | None, Option(help="Stop after so many epochs without a better one; 0 is never.", **TOLD)] = None,
    seed: Annotated[int | None, Option(help="Of all that is random: the same seed, the same weights.", **TOLD)] = None,
    threads: Annotated[int | None, Option(help="Cores to use; 0 is all.", **TOLD)] = None,
    device: Annotated[str | None, Option(help="cpu or cuda.", **TOLD)] = None,
    graph: Annotated[bool | None, Option("--graph", help="On a GPU, record a step and launch it as a whole.", **TOLD)] = None,
    config: Annotated[Path | None, Option(help="A TOML file with these settings, such as a run's config.toml; flags go "
                                               "before it.", show_default=False)] = None,
    out: Annotated[Path | None, Option(help="The folder to leave, by default runs/DATA-MODEL-N.", show_default=False)] = None,
    resume: Annotated[Path | None, Option(metavar="RUN", help="Go on with an interrupted run.", show_default=False)] = None,
    data_dir: DataDir = None,
) -> None:
    """Train a network and leave a folder: weights, metrics, configuration, pictures."""
    from .train import train

    flags: dict[str, Any] = {
        "data": data, "model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr, "optimizer": optimizer,
        "momentum": momentum, "weight_decay": weight_decay, "schedule": schedule, "label_smoothing": label_smoothing,
        "augment": augment, "expand": expand, "validation": validation, "split": split, "patience": patience, "seed": seed,
        "threads": threads, "device": device, "graph": graph}
    raise typer.Exit(train({name: value for name, value in flags.items() if value is not None}, config, out, resume, data_dir))


@app.command()
def runs(folder: Annotated[Path, Argument(metavar="DIR", help="Where they lie, at any depth.")] = Path("runs")) -> None:
    """Compare runs: a table, with what each was told that differs from its data set's recipe."""
    from .runs import runs

    runs(folder)


@app.command()
def reproduce(
    table: Annotated[str, Argument(metavar="TABLE", help="mnist-table.", show_default=False)],
    rows: Annotated[str, Option(help="Rows to train, with commas; by default all.", show_default=False)] = "",
    seeds: Annotated[str, Option(help="Seeds to train each row from, with commas.")] = "0",
    epochs: Annotated[int | None, Option(min=1, help="Other than the book's number, and marked as such.",
                                         show_default=False)] = None,
    threads: Annotated[int, Option(min=0, help="Cores to use; 0 is all.")] = 0,
    out: Annotated[Path | None, Option(help="The folder of its runs, by default runs/TABLE.", show_default=False)] = None,
    record: Annotated[bool, Option("--record", help="Write the results to bench/results, too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Train the networks of a published table, and set the measured accuracy beside the published.

    Ctrl-C stops it, the same command goes on where it was; what is through is not trained again.
    """
    from .reproduce import reproduce

    raise typer.Exit(reproduce(table, rows, seeds, epochs, threads, out, record, data_dir))


@app.command()
def dcgan(
    data: Annotated[str, Option(help="digits, mnist, fashion-mnist or scenes.")] = "mnist",
    epochs: Annotated[int, Option(help="Passes over the training samples.")] = 5,
    batch_size: Annotated[int, Option(help="Images to a step of each network.")] = 64,
    lr: Annotated[float, Option(help="Learning rate of both.")] = 2e-4,
    width: Annotated[int, Option(help="Maps at half the size of an image; twice as many at a quarter.")] = 32,
    seed: Annotated[int, Option(help="Of all that is random.")] = 0,
    threads: Annotated[int, Option(min=0, help="Cores to use; 0 is all.")] = 0,
    out: Annotated[Path | None, Option(help="The folder of the run, by default runs/DATA-dcgan.", show_default=False)] = None,
    data_dir: DataDir = None,
) -> None:
    """Train a generator of images against a discriminator, with a sheet of samples after every epoch.

    Ctrl-C stops it, the same command goes on after the last whole epoch.
    """
    from ..train.dcgan import Game
    from .dcgan import dcgan

    game = Game(data, epochs, batch_size, lr, width, seed)
    raise typer.Exit(dcgan(game, threads, out or Path("runs") / f"{data}-dcgan", data_dir))


@app.command()
def evaluate(runs: Annotated[list[Path], Argument(metavar="RUN...", help="The folder of a run; of several, their vote.",
                                                  show_default=False)],
             best: Best = False, data_dir: DataDir = None, device: Device = "cpu") -> None:
    """Measure a trained network, or a vote of several, on the held-out part of the data set."""
    from .look import evaluate

    evaluate(runs, best, data_dir, device)


@app.command()
def predict(run: RunFolder,
            images: Annotated[list[Path], Argument(metavar="IMAGE.png...", help="Pictures, one subject in each.",
                                                   show_default=False)],
            best: Best = False, device: Device = "cpu") -> None:
    """Read pictures with a trained network."""
    from .look import predict

    predict(run, images, best, device)


@app.command()
def pictures(run: RunFolder,
             images: Annotated[list[Path] | None, Argument(metavar="IMAGE.png", help="To show layers and saliency of, "
                               "instead of held-out images.", show_default=False)] = None,
             best: Best = False,
             out: Annotated[Path | None, Option(help="The folder to draw into, by default RUN.", show_default=False)] = None,
             data_dir: DataDir = None, device: Device = "cpu") -> None:
    """Draw what a trained network sees: its confusion, worst mistakes, layers, and the pixels that its answers hang on."""
    from .pictures import pictures

    pictures(run, images or [], best, out, data_dir, device)


@app.command()
def lr_range(
    data: Annotated[str | None, Option(help="As of train, like the next six.", show_default=False)] = None,
    model: Annotated[str | None, Option(show_default=False)] = None,
    batch_size: Annotated[int | None, Option(show_default=False)] = None,
    optimizer: Annotated[str | None, Option(show_default=False)] = None,
    augment: Annotated[str | None, Option(show_default=False)] = None,
    seed: Annotated[int | None, Option(show_default=False)] = None,
    threads: Annotated[int | None, Option(show_default=False)] = None,
    config: Annotated[Path | None, Option(help="A TOML file with these; flags go before it.", show_default=False)] = None,
    low: Annotated[float, Option(help="The rate of the first step.")] = 1e-5,
    high: Annotated[float, Option(help="That of the last, unless the loss breaks before.")] = 10.0,
    steps: Annotated[int, Option(help="Batches to train on.")] = 200,
    out: Annotated[Path, Option(help="The picture.")] = Path("lr_range.png"),
    data_dir: DataDir = None,
) -> None:
    """Find the learning rate to begin with: let it grow step by step, and see where the loss falls and where it breaks."""
    from .pictures import lr_test

    flags = {"data": data, "model": model, "batch_size": batch_size, "optimizer": optimizer, "augment": augment, "seed": seed,
             "threads": threads}
    lr_test({name: value for name, value in flags.items() if value is not None}, config, low, high, steps, out, data_dir)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(context: typer.Context) -> None:
    """Time every algorithm and library on the same problems, after judging every answer."""
    from ..bench.command import bench  # with its flags, which it knows best: they stand where they are used

    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(bench)
    raise typer.Exit(command(context.args, prog_name="tinyconv bench", standalone_mode=False) or 0)


@app.command()
def models(
    name: Annotated[str, Argument(help="One of them, to see it layer by layer.", show_default=False)] = "",
    image: Annotated[str, Option(help='Of NAME: channels, height and width, "1x32x32"; by default what it was drawn for.',
                                 show_default=False)] = "",
    classes: Annotated[int | None, Option(help="Of NAME: outputs of the last layer.", min=1, show_default=False)] = None,
) -> None:
    """List the networks there are, or show one."""
    if name:
        from .shape import model

        model(name, image, classes)
        return
    from .info import models

    models()


@app.command()
def info() -> None:
    """Print versions, CPU, threads, devices and compiled kernels."""
    from .info import info

    info()


app.add_typer(study.shape, name="shape")
app.command()(study.draw)
app.command()(study.explore)
app.command()(study.trace)
