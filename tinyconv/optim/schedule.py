"""Schedules: the learning rate as a function of how often `step()` was called.

Each schedule writes `lr` into the optimiser's groups, at once and at every step, as its formula of the base rate (that of
the group when the schedule was made) and of t, the number of steps. t counts epochs or batches: as often as you call step.
The formulas are PyTorch's, in closed form: what anyone else writes into `lr` does not carry over to the next step.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from .optimizer import Optimizer

__all__ = [
    "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "OneCycleLR",
    "ReduceLROnPlateau", "SequentialLR", "StepLR",
]


class LRScheduler:
    """Base of the schedules that are a function of t. A subclass defines `lr_at(base, t)`."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer
        self.base_lrs = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self.last_epoch = 0
        self._write(self.last_epoch)

    def lr_at(self, base: float, t: int) -> float:
        """The learning rate after t steps, for a group whose base rate is `base`."""
        raise NotImplementedError

    def step(self) -> None:
        """Go to the next t, and set the learning rates."""
        self.last_epoch += 1
        self._write(self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands; its options are not in it."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there. Raises ValueError where the optimiser has another number of groups."""
        if len(state_dict["base_lrs"]) != len(self.base_lrs):
            raise ValueError(f"the state has {len(state_dict['base_lrs'])} groups, the optimiser {len(self.base_lrs)}")
        self.last_epoch, self.base_lrs = int(state_dict["last_epoch"]), list(state_dict["base_lrs"])
        self._write(self.last_epoch)

    def _write(self, t: int) -> None:
        for base, group in zip(self.base_lrs, self.optimizer.param_groups):
            group["lr"] = self.lr_at(base, t)


class LambdaLR(LRScheduler):
    """base * lr_lambda(t)."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]):
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.lr_lambda(t)


class StepLR(LRScheduler):
    """base * gamma^floor(t / step_size)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        if not step_size >= 1:
            raise ValueError(f"step_size must be at least 1, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """base * gamma^(number of milestones reached)."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.gamma ** bisect_right(self.milestones, t)


class ExponentialLR(LRScheduler):
    """base * gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = gamma
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return base * self.gamma**t


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from base down to eta_min in T_max steps, and up again in the next.

    Source: Loshchilov and Hutter, "SGDR" (2017), equation 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        if T_max < 1:
            raise ValueError(f"T_max must be at least 1, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class LinearLR(LRScheduler):
    """A warm-up: base times a factor that goes from start_factor to end_factor in total_iters steps, then stays.

    >>> import tinyconv as tc
    >>> opt = tc.optim.SGD([tc.tensor([0.0], requires_grad=True)], lr=0.5)
    >>> warm = LinearLR(opt, start_factor=0.5, total_iters=2)
    >>> rates = [opt.param_groups[0]["lr"]]
    >>> for _ in range(3):
    ...     warm.step()
    ...     rates.append(opt.param_groups[0]["lr"])
    >>> rates
    [0.25, 0.375, 0.5, 0.5]
    """

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5):
        if total_iters < 1 or not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR wants total_iters of at least 1 and factors from 0 to 1 (the first above 0), got "
                             f"{total_iters}, {start_factor} and {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        done = min(t, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class SequentialLR(LRScheduler):
    """One schedule after another: schedulers[i] from milestones[i-1] on, each counting t from its own start.

    A warm-up and then a cosine: SequentialLR(opt, [LinearLR(opt, total_iters=5), CosineAnnealingLR(opt, 95)], [5]).
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]):
        if len(milestones) != len(schedulers) - 1 or sorted(milestones) != list(milestones):
            raise ValueError(f"{len(schedulers)} schedules want {len(schedulers) - 1} rising milestones, got {milestones}")
        if apart := [i for i, s in enumerate(schedulers) if s.optimizer is not optimizer]:
            raise ValueError(f"schedule {apart[0]} of {len(schedulers)} writes to another optimiser than the one given")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def _write(self, t: int) -> None:
        i = bisect_right(self.milestones, t)
        self.schedulers[i]._write(t - (self.milestones[i - 1] if i else 0))


class OneCycleLR(LRScheduler):
    """Up from max_lr/div_factor to max_lr in the first pct_start of total_steps, then down to that/final_div_factor.

    total_steps, or epochs * steps_per_epoch, counts the values of lr, the first one included; a step beyond them raises.
    anneal_strategy: "cos" or "linear". With cycle_momentum the momentum (or Adam's first beta) goes the other way, between
    max_momentum and base_momentum. three_phase comes down to the first rate, then in a third phase to the last.
    Source: Smith and Topin, "Super-convergence" (2018).
    """

    def __init__(self, optimizer: Optimizer, max_lr: float | Sequence[float], total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
                 anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: float = 0.85,
                 max_momentum: float = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
                 three_phase: bool = False):
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR wants total_steps, or both epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1 or not 0 <= pct_start <= 1 or anneal_strategy not in ("cos", "linear"):
            raise ValueError(f'OneCycleLR wants at least 1 step, pct_start from 0 to 1 and anneal_strategy "cos" or "linear", '
                             f"got {total_steps}, {pct_start} and {anneal_strategy!r}")
        self.total_steps, self.cosine = total_steps, anneal_strategy == "cos"
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self.momenta = (max_momentum, base_momentum) if cycle_momentum else None
        up = pct_start * total_steps - 1
        self.ends = [up, 2 * up, total_steps - 1] if three_phase else [up, total_steps - 1]
        tops = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(optimizer.param_groups)
        if len(tops) != len(optimizer.param_groups):
            raise ValueError(f"{len(tops)} values of max_lr for {len(optimizer.param_groups)} parameter groups")
        for group, top in zip(optimizer.param_groups, tops):
            group["initial_lr"] = top / div_factor
            if cycle_momentum and "momentum" not in group and "betas" not in group:
                raise ValueError(f"cycle_momentum: {type(optimizer).__name__} has neither momentum nor betas to cycle")
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        turns = [base, base * self.div_factor, base, base / self.final_div_factor]
        return self._between(turns if len(self.ends) == 3 else [turns[0], turns[1], turns[3]], t)

    def _between(self, turns: Sequence[float], t: int) -> float:
        """The value at t of a curve with these values at the ends of the phases."""
        if t >= self.total_steps:
            raise ValueError(f"a one-cycle schedule of {self.total_steps} steps was stepped {t} times: it has "
                             f"{self.total_steps} learning rates, the first included")
        i = min(bisect_left(self.ends, t), len(self.ends) - 1)
        begin, end = self.ends[i - 1] if i else 0, self.ends[i]
        done = (t - begin) / (end - begin) if end > begin else 1.0
        share = (1 - math.cos(math.pi * done)) / 2 if self.cosine else done
        return turns[i] + (turns[i + 1] - turns[i]) * share

    def _write(self, t: int) -> None:
        super()._write(t)
        if self.momenta is not None:
            high, low = self.momenta
            value = self._between([high, low, high, high][:len(self.ends) + 1], t)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (value, *group["betas"][1:])
                else:
                    group["momentum"] = value


class ReduceLROnPlateau:
    """lr * factor after more than `patience` steps without a better metric: step(metric) is called once an epoch.

    mode: whether better is smaller ("min") or larger ("max"), by more than `threshold`, a share of the best
    (threshold_mode="rel") or a difference ("abs"). cooldown: steps after a reduction that are not counted. lr stays at or
    above min_lr.
    """

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0, min_lr: float = 0.0):
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs") or not 0 < factor < 1:
            raise ValueError('ReduceLROnPlateau wants mode "min" or "max", threshold_mode "rel" or "abs" and a factor '
                             f"between 0 and 1, got {mode!r}, {threshold_mode!r} and {factor}")
        self.optimizer, self.sign, self.factor, self.patience = optimizer, 1 if mode == "min" else -1, factor, patience
        self.threshold, self.relative, self.cooldown, self.min_lr = threshold, threshold_mode == "rel", cooldown, min_lr
        self.best: float | None = None
        self.bad, self.rest = 0, 0

    def step(self, metric: Any) -> None:
        """Note the metric of an epoch, and reduce the learning rates where it has not become better for too long."""
        value = float(metric)
        if self._is_better(value):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.rest > 0:
            self.rest, self.bad = self.rest - 1, 0
        if self.bad > self.patience:
            for group in self.optimizer.param_groups:
                lower = max(group["lr"] * self.factor, self.min_lr)
                if group["lr"] - lower > 1e-8:
                    group["lr"] = lower
            self.rest, self.bad = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        best = self.sign * math.inf if self.best is None else self.best
        margin = self.threshold * (abs(best) if self.relative else 1.0)
        return self.sign * (best - value) > (margin if math.isfinite(best) else 0.0)  # any number is better than infinity

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands."""
        return {"best": self.best, "bad": self.bad, "rest": self.rest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from there."""
        self.best, self.bad, self.rest = state_dict["best"], state_dict["bad"], state_dict["rest"]
