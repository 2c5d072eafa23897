"""Which operation made the first number that is none: an epoch is trained again, and every result looked at.

A loss of nan or inf is often the late end of it: an overflow, a division by 0, a gradient of infinity some steps before. A run
repeats itself bit for bit, so nobody needs to look while it goes well.
Read next: loop.py, which takes the state at the start of each epoch for this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..mode import Watch, watched
from ..nn import Module
from ..op import Op
from ..tape import Node
from ..tensor import Tensor

if TYPE_CHECKING:
    from .loop import Training


class Blame(Watch):
    """Looks at the result of every operation, and keeps a sentence about the first that is not finite.

    model: its parameters are called by their names.
    """

    def __init__(self, model: Module):
        self.names = {id(p): f"{name} " for name, p in model.named_parameters()}
        self.found = ""
        self.moment = ""

    def ran(self, op: Op, operands: tuple[Tensor, ...], meta: dict, out: Tensor) -> None:
        """An operation has run."""
        if self.found or (bad := _bad(out.data)) == "":
            return
        of = ", ".join(f"{self.names.get(id(t), '')}{t.shape}" for t in operands)
        self.found = f"the first operation to give {bad} was {op.name}, of {of} to {out.shape}, {self.moment}"

    def filled(self, node: Node, edge: Node, gradient: Tensor) -> None:
        """A rule has made a cotangent: by a kernel of its own, where no operation was seen to make it."""
        if not self.found and (bad := _bad(gradient.data)):
            assert node.op is not None
            self.found = (f"the first to give {bad} was the gradient rule of {node.op.name}, to {gradient.shape}, "
                          f"{self.moment}")

    def look(self, what: str, value: Any) -> None:
        """Look at something that no operation made."""
        if not self.found and (bad := _bad(value)):
            self.found = f"{what} held {bad} {self.moment}"


def blame(training: Training, before: dict[str, Any]) -> str:
    """Train on from the state `before` until something is not finite: what that was, or "" where nothing was.

    The training is left somewhere in between, and good for nothing else.
    """
    training.load_state_dict(before)
    eye, done = Blame(training.model), training.loader.state_dict()["batch"]
    for number, (images, labels) in enumerate(training.loader, done + 1):
        eye.moment = f"in step {number}"
        eye.look(f"the batch of shape {images.shape}", images)
        with watched(eye):
            loss, _ = training.lose(images, labels)
            eye.moment = f"in the backward pass of step {number}"
            if not eye.found:
                loss.backward()
        eye.moment = f"after step {number}"
        if not eye.found:
            training.move()
        for name, p in training.model.named_parameters():
            eye.look(f"{name} of shape {p.shape}, as {type(training.optimiser).__name__} left it,", p.data)
        if eye.found:
            break
    return eye.found


def _bad(value: Any) -> str:
    """What an array holds that is no finite number, or ""."""
    if value.dtype.kind != "f" or np.isfinite(value).all():
        return ""
    return "nan" if np.isnan(value).any() else "inf"
