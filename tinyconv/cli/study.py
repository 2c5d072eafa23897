"""The commands that show how convolution is computed, and their flags: shape, draw, explore, trace.

Read next: shape.py, draw.py, explore.py and trace.py, what they do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

shape = typer.Typer(no_args_is_help=True, help="Work out sizes, rules, costs and receptive fields, with the numbers put in.")

Input = Annotated[str, Option(help='Size of the input: "32", or "32x48" by dimension.', show_default=False)]
Kernel = Annotated[str, Option(help="Size of the kernel or window.", show_default=False)]
Stride = Annotated[str, Option(help="Cells from one window to the next.")]
Padding = Annotated[str, Option(help='Rows of zeros around: "1", "1,2", sides apart "0+1", or valid, same, half, full.')]
Dilation = Annotated[str, Option(help="Cells from one tap to the next; 1 is dense.")]
Groups = Annotated[int, Option(help="Groups of channels that do not mix.")]
Channels = Annotated[str, Option(help='Of input and output, "3,96".')]
Rank = Annotated[int | None, Option(help="Spatial dimensions where no list says it.", min=1, max=3, show_default="2")]
WindowStride = Annotated[str, Option(help="Cells from one window to the next, by default as many as the window has.",
                                     show_default=False)]


@shape.command()
def conv(input: Input, kernel: Kernel, stride: Stride = "1", padding: Padding = "0", dilation: Dilation = "1",
         groups: Groups = 1, channels: Channels = "1,1", rank: Rank = None) -> None:
    """A convolution: output size by the guide's relationship, rows left over, parameters, multiply-adds, its transpose."""
    from .geometry import Geometry, sizes
    from .shape import conv

    conv(Geometry(input, kernel, stride, padding, dilation, rank), sizes(channels, 2, "--channels", 1), groups)


@shape.command()
def conv_transpose(
    input: Input, kernel: Kernel, stride: Stride = "1", padding: Padding = "0", dilation: Dilation = "1", groups: Groups = 1,
    channels: Channels = "1,1", rank: Rank = None,
    output_padding: Annotated[str, Option(help="Rows more at the end, 0 to stride - 1.")] = "0",
    output_size: Annotated[str, Option(help="The size that is wanted, in place of output padding.", show_default=False)] = "",
) -> None:
    """A transposed convolution: the sizes it can fill, and the direct convolution it equals."""
    from .geometry import Geometry, sizes
    from .shape import conv_transpose

    conv_transpose(Geometry(input, kernel, stride, padding, dilation, rank), sizes(channels, 2, "--channels", 1), groups,
                   output_padding, output_size)


@shape.command()
def pool(input: Input, kernel: Kernel, stride: WindowStride = "", padding: Padding = "0", dilation: Dilation = "1",
         channels: Annotated[int, Option(help="Of the input, and so of the output.", min=1)] = 1, rank: Rank = None,
         ceil_mode: Annotated[bool, Option("--ceil-mode", help="Let the last window hang over the end.")] = False) -> None:
    """A pooling, of any kind."""
    from .geometry import Geometry
    from .shape import pool

    pool(Geometry(input, kernel, stride, padding, dilation, rank), channels, ceil_mode)


@shape.command()
def model(name: Annotated[str, Argument(help="A network by name: see `tinyconv models`.", show_default=False)],
          image: Annotated[str, Option(help='Channels, height and width, "1x32x32"; by default what it was drawn for.',
                                       show_default=False)] = "",
          classes: Annotated[int | None, Option(help="Outputs of the last layer; by default what it was drawn for.", min=1,
                                                show_default=False)] = None) -> None:
    """A network, layer by layer."""
    from .shape import model

    model(name, image, classes)


def draw(
    kind: Annotated[str, Argument(metavar="KIND", show_default=False, help=(
        "conv, conv-transpose, dilated, max-pool, average-pool, unpool, toeplitz (the matrix), positions (their count), "
        "checkerboard (of transposed convolutions), or guide: all the pictures of the guide, into the folder --out."))],
    input: Annotated[str, Option(help='Size of the input: "5", or "5x7".')] = "5",
    kernel: Annotated[str, Option(help="Size of the kernel or window, by default 3, for poolings 2.", show_default=False)] = "",
    stride: Annotated[str, Option(help="Cells from one window to the next, by default 1, for poolings the window.",
                                  show_default=False)] = "",
    padding: Padding = "0",
    dilation: Annotated[str, Option(help="Cells from one tap to the next, by default 1, for dilated 2.",
                                    show_default=False)] = "",
    output_padding: Annotated[str, Option(help="Of conv-transpose: rows more at the end.")] = "0",
    values: Annotated[bool, Option("--values", help="Put numbers in.")] = False,
    seed: Annotated[int, Option(help="Of the numbers.", min=0)] = 0,
    steps: Annotated[str, Option(help='Which steps to show, "1,5,9"; by default a few, in a GIF all.',
                                 show_default=False)] = "",
    out: Annotated[Path | None, Option(help="The file: .png, .svg, or .gif, which moves; by default KIND.png.",
                                       show_default=False)] = None,
    suffix: Annotated[str, Option("--format", help="Of guide: png, svg or gif.")] = "png",
) -> None:
    """Draw how a convolution or a pooling is computed, step by step."""
    from .draw import draw, guide
    from .geometry import Geometry

    if kind == "guide":
        guide(out or Path("guide"), f".{suffix}")
        return
    pooling = kind.endswith("pool")
    geometry = Geometry(input, kernel or ("2" if pooling else "3"), stride or ("" if pooling else "1"), padding,
                        dilation or ("2" if kind == "dilated" else "1"), 2)
    draw(kind, geometry, output_padding, values, seed, steps, out or Path(f"{kind}.png"))


def explore(
    input: Annotated[int, Option(help="Where the slider of the input starts.")] = 5,
    kernel: Annotated[int, Option(help="Of the kernel.")] = 3,
    stride: Annotated[int, Option(help="Of the stride.")] = 1,
    padding: Annotated[int, Option(help="Of the padding.")] = 0,
    dilation: Annotated[int, Option(help="Of the dilation.")] = 1,
    fills: Annotated[str, Option(help="The slot that the map fills: y, x or w.")] = "y",
    out: Annotated[Path, Option(help="The page.")] = Path("explore.html"),
    show: Annotated[bool, Option("--open/--no-open", help="Open it in the browser.")] = True,
) -> None:
    """Write one page, without a network, in which to point at convolution: the three maps, gradients, pooling."""
    from .explore import explore

    explore(out, show, i=input, k=kernel, s=stride, p=padding, d=dilation, fills=fills)


def trace(
    model: Annotated[str, Option(help="A network by name: see `tinyconv models`.")] = "lenet5",
    digit: Annotated[int, Option(help="Which of the 360 held-out digits it is shown.", min=0, max=359)] = 0,
    seed: Annotated[int, Option(help="Of the weights, which are fresh.", min=0)] = 0,
    out: Annotated[Path | None, Option(help="A folder to leave trace.txt, .svg, .dot and .html in, the page to step through.",
                                       show_default=False)] = None,
) -> None:
    """Run a network forward and backward on one digit, and show every operation, the rule of every gradient, every kernel."""
    from .trace import trace

    trace(model, digit, seed, out)
