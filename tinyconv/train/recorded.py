"""A training step's forward and backward pass as one CUDA graph, since small networks are bound by their launches.

The first batches run as ever, in memory of the graph's own; then a batch is recorded, and from then on its launches are
repeated as one, on the same memory: a batch is copied in, the loss and the gradients stand where they stood. The update of
the weights is launched afresh, because the learning rate changes. A batch of another size runs as ever.
In the simulator, which has no graphs, every step runs the function. Read next: kernels/gpu_graph.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..tensor import Tensor

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Recorded:
    """`step` (x, t) -> (loss, logits), recorded for the shapes of its first batch; it leaves gradients in `parameters`.

    A batch of another size leaves others there, so after every launch the parameters get those that the graph writes to.

    Raises: RuntimeError for a step that draws random numbers (dropout), which a graph would repeat.
    """

    def __init__(self, step: Step, parameters: Iterable[Tensor]):
        self.step, self.parameters = step, list(parameters)
        self.grads: list[Tensor | None] = []
        self.batch: tuple[Tensor, Tensor] | None = None
        self.result: tuple[Tensor, Tensor] | None = None
        from ..kernels.gpu_graph import Graph  # here: it brings Numba along

        self.graph = Graph(self._run)

    def __call__(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        if self.batch is None:
            self.batch = x.clone(), t.clone()
        if x.shape != self.batch[0].shape:
            return self.step(x, t)
        for held, new in zip(self.batch, (x, t)):
            held.copy_(new)
        self.graph()
        assert self.result is not None
        for p, grad in zip(self.parameters, self.grads):
            p.grad = grad
        return self.result

    def _run(self) -> None:
        assert self.batch is not None
        self.result = self.step(*self.batch)
        self.grads = [p.grad for p in self.parameters]
