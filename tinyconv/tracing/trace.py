"""The trace as it is used: a context that looks on, and the ways to look at what it saw.

Read next: recorder.py, what it holds.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..mode import watched
from ..registry import kernels
from ..tensor import Tensor
from .findings import EXPLODING, VANISHING, Finding, findings
from .graph import dot, graph, svg
from .recorder import Choice, Event, Recorder, Step, Sweep
from .tree import tree

KEPT = 8192  # elements


class Trace:
    """What ran in the `with` block, in this thread. Prints as a tree; see `trace`."""

    def __init__(self, named: dict[int, tuple[Tensor, str]], keep: int):
        self._named = named
        self._recorder = Recorder(keep, self._name)
        self._block: ExitStack | None = None
        self._judged = 0

    def _name(self, t: Tensor) -> str | None:
        return next((name for known, name in self._named.values() if known.data is t.data), None)

    def __enter__(self) -> Trace:
        if self._block is not None:
            raise RuntimeError("this trace is under way already: a trace in a trace is another tinyconv.trace()")
        self._block = ExitStack()
        self._block.enter_context(watched(self._recorder))
        self._recorder.resume()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._block is not None
        self._block.close()
        self._block = None
        for choice in self._recorder.choices[self._judged:]:
            choice.others = why_not(choice)
        self._judged = len(self._recorder.choices)

    @property
    def events(self) -> list[Event]:
        """What happened, in order: operations (Step) and backward passes (Sweep), as recorder.py draws them up."""
        return self._recorder.events

    @property
    def steps(self) -> list[Step]:
        """Every operation, wherever it ran, by its number from 1."""
        return list(self._recorder.steps.values())

    @property
    def sweeps(self) -> list[Sweep]:
        """The backward passes, without those that are part of a rule."""
        return [event for event in self.events if isinstance(event, Sweep)]

    @property
    def tensors(self) -> dict[str, Any]:
        """What no operation of the block made, by name, as it was when first used (recorder.Value)."""
        return self._recorder.leaves

    def findings(self, vanishing: float = VANISHING, exploding: float = EXPLODING) -> list[Finding]:
        """The first operation that made a NaN or an infinity, and gradients that vanish, explode or are 0.

        vanishing, exploding: the norm of a gradient, as a multiple of the norm of the cotangent that the backward pass began
        with (1 for a loss), below and above which it counts as such.
        """
        return findings(self.events, self._recorder.steps, vanishing, exploding)

    def tree(self, width: int = 80) -> str:
        """Operations, gradients with their rules, kernels and findings as text, in lines of at most `width` columns."""
        return tree(self.events, self.findings(), width)

    def __str__(self) -> str:
        return self.tree()

    def dot(self) -> str:
        """The graph in the language of Graphviz: operations, and for each backward pass its gradients."""
        return dot(graph(self.events))

    def svg(self) -> str:
        """The graph as a picture, an SVG document; needs no Graphviz."""
        return svg(graph(self.events))

    def page(self, title: str = "A traced pass") -> str:
        """One HTML page, without a network, to step through the passes with the values of small tensors."""
        from .page import page  # reads the files of the page

        return page(self.events, self.findings(), title)

    def write(self, folder: str | Path, title: str = "A traced pass") -> list[Path]:
        """Leave trace.txt, trace.svg, trace.dot and trace.html in a folder, which is made; returns their paths.

        Raises: OSError where the folder cannot be made, DataError where a file cannot be written.
        """
        from ..data.files import replacing  # here: it brings the data sets along

        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        texts = {"trace.txt": f"{self}\n", "trace.svg": self.svg(), "trace.dot": self.dot(), "trace.html": self.page(title)}
        for name, text in texts.items():
            with replacing(out / name) as file:
                file.write(text.encode("utf-8"))
        return [out / name for name in texts]

    def _repr_svg_(self) -> str:  # in a notebook
        return self.svg()


def trace(*models: Any, keep: int = KEPT, **names: Tensor) -> Trace:
    """A context that writes down every operation, kernel and gradient of its block, in this thread.

    models: parameters and buffers of these modules appear under their own names. names: tensors to call by name, `image=x`.
    keep: arrays of up to this many elements are kept, to be shown. Threads that start inside are not traced; a trace inside
    a trace sees what is inside of it, and both see that. It changes no result.

    >>> import tinyconv as tc
    >>> x = tc.tensor([1.0, -2.0], requires_grad=True)
    >>> with trace(x=x) as t:
    ...     (x.relu() * 3.0).sum().backward()
    >>> [step.op for step in t.steps], t.findings()
    (['relu', 'scale', 'sum', 'repeat', 'scale', 'relu_grad'], [])
    >>> [fill.rule for pull in t.sweeps[0].pulls for fill in pull.fills]
    ['x <- repeat(y)', 'x <- scale(y)', 'x <- relu_grad(g, y)']
    """
    known = [(name, t) for model in models for name, t in (*model.named_parameters(), *model.named_buffers())]
    for name, t in names.items():
        if not isinstance(t, Tensor):
            raise TypeError(f"trace wants a Tensor for {name}, got {type(t).__name__}")
    return Trace({id(t): (t, name) for name, t in (*known, *names.items())}, keep)


def why_not(choice: Choice) -> list[tuple[str, str]]:
    """Every other kernel of the operation on this device, the fastest first, and why it was not taken."""
    chosen, others = choice.kernel, []
    below = False
    for k in reversed(kernels(chosen.op)):
        if k is chosen:
            below = True
            continue
        if k.device != chosen.device:
            continue
        why = k.refuse(choice.dims, choice.dtype)
        others.append((k.algorithm, why or ("" if k.automatic else "it runs only where it is asked for")
                       or ("a lower rung" if below else "another was asked for")))
    return others
