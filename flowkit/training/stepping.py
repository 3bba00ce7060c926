"""Training steps, taken eagerly or compiled: as `training.compile` says, or as is faster."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor

from ..compiler import in_a_line
from ..conditions import Condition
from ..errors import ConfigError, FlowkitWarning
from .choice import Comparison, StepChoice, clock_of
from .compiled import CompiledStep

__all__ = ["Stepping"]


class Stepping:
    """Takes the steps of a training, one way or the other.

    Arguments:
        setting: `training.compile`.
        refusal: Why no step can be compiled here; empty if one can.
        steps: Of the whole run.
        device: Where they run.
        eager: Takes a step as it is, given a pair.
        compiling: Makes the compiled step.

    Raises:
        ConfigError: The setting asks for what is refused.
    """

    choice: StepChoice | None = None
    """What `auto` has decided; None before, and if nothing was to be decided."""

    def __init__(
        self,
        setting: bool | Literal["auto"],
        refusal: str,
        steps: int,
        device: torch.device,
        eager: Callable[[Tensor, Tensor, Condition], Tensor],
        compiling: Callable[[], CompiledStep],
    ) -> None:
        if setting is True and refusal:
            raise ConfigError(f"training.compile: {refusal}")
        self._auto = setting == "auto" and not refusal
        self._steps, self._device = steps, device
        self._eager, self._compiling = eager, compiling
        self._compiles = setting is True
        self._compiled: CompiledStep | None = None
        self._comparison: Comparison | None = None
        if setting == "auto" and refusal:
            self.choice = StepChoice(False, f"compiling {refusal}")

    def __call__(self, left: int, x0: Tensor, z: Tensor, y: Condition, rate: float, weight: float) -> Tensor:
        """Take a step; returns the mean loss.

        Arguments:
            left: How many steps are to come, this one among them.
            x0: Draws of p_init.
            z: Data points.
            y: Conditions.
            rate: The learning rate.
            weight: How much the averages move towards the weights.
        """
        if self._auto and self.choice is None:
            return self._timed(left, x0, z, y, rate, weight)
        return self._take(x0, z, y, rate, weight)

    def state(self) -> dict[str, Any] | None:
        """What was decided by measuring, for `state.json`; None before."""
        return asdict(self.choice) if self._auto and self.choice else None

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on with what was decided, unless it hung on a number of steps that is another by now."""
        choice = StepChoice(**state) if state and self._auto else None
        if choice and choice.steps in (None, self._steps):
            self.choice, self._compiles = choice, choice.compiled

    def _timed(self, left: int, x0: Tensor, z: Tensor, y: Condition, rate: float, weight: float) -> Tensor:
        """A step on the clock, as long as nothing is decided."""
        if self._comparison is None:
            self._comparison = Comparison(self._steps, left, clock_of(self._device))
        self._comparison.begin()
        loss = self._take(x0, z, y, rate, weight)
        self._comparison.end()
        if self.choice is None:  # else it turned out that the step cannot be compiled
            self._compiles, self.choice = self._comparison.compiled, self._comparison.choice
        if self.choice and not self.choice.compiled:
            self._compiled = None
        return loss

    def _take(self, x0: Tensor, z: Tensor, y: Condition, rate: float, weight: float) -> Tensor:
        if self._compiles:
            try:
                self._compiled = self._compiled or self._compiling()
                return self._compiled(x0, z, y, rate, weight)
            except Exception as error:
                self._give_up_compiling(error)
        return self._eager(x0, z, y)

    def _give_up_compiling(self, error: Exception) -> None:
        """Go on without, if it was the compiler that failed; an error of the step itself comes up again there."""
        if self._compiled is not None and self._compiled.has_run:
            raise error
        self._compiles, self._compiled = False, None
        if self._auto:
            self.choice = StepChoice(False, "this step cannot be compiled")
        warnings.warn(
            f"training.compile: this step cannot be compiled and runs as it is: {in_a_line(error)}",
            FlowkitWarning,
            stacklevel=2,
        )
