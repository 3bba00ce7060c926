"""Sampling: source -> dynamics -> integrator -> samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .conditions import Condition
from .dynamics import ODE, SDE, Dynamics
from .errors import UnsupportedError, require_object
from .interfaces.diffusion import DiffusionCoefficient
from .interfaces.guidance import Guidance
from .interfaces.integrator import Integrator
from .interfaces.path import Path
from .interfaces.predictor import Predictor
from .interfaces.quantity import Quantity
from .interfaces.schedule import Schedule
from .interfaces.time import TimeGrid
from .random import Generator, randn_like

__all__ = ["Cost", "Sampler", "sample"]


@dataclass
class Cost:
    """What sampling took; pass one to have it counted.

    Arguments:
        evaluations: Evaluations of the model, with those of the pilots that a grid has sent ahead.
        rejected: Steps that an adaptive integrator tried in vain.
        batches: Batches that were integrated.
    """

    evaluations: int = 0
    rejected: int = 0
    batches: int = 0

    def add(self, dynamics: Dynamics) -> None:
        """Count one batch, when it has been integrated."""
        self.evaluations += dynamics.evaluations
        self.rejected += dynamics.rejected
        self.batches += 1


@dataclass(frozen=True)
class Sampler:
    """How samples are drawn from a model.

    Arguments:
        integrator: Solves the ODE, or the SDE if it is stochastic.
        times: The times to step through, as a grid or as numbers.
        steps: How many steps, for a grid.
        diffusion: sigma_t, which a stochastic integrator needs.
        guidance: Steers the model, most often by the condition.
        schedule: Another schedule than that of the model's path to sample on.
    """

    integrator: Integrator
    times: TimeGrid | Tensor | Sequence[float]
    steps: int = 50
    diffusion: DiffusionCoefficient | None = None
    guidance: Guidance | None = None
    schedule: Schedule | None = None

    def rescheduled(self, model: Predictor, path: Path) -> tuple[Predictor, Path]:
        """The model and the path as they are sampled: on `schedule`, if there is one.

        Raises:
            UnsupportedError: The path has no schedule to change.
        """
        return (model, path) if self.schedule is None else path.reschedule(model, self.schedule)

    def problems(self, model: Predictor, path: Path) -> list[str]:
        """Why this cannot sample from that model."""
        guidance_problems = self.guidance.problems(model) if self.guidance else []
        try:
            model, path = self.rescheduled(model, path)
        except UnsupportedError as error:
            return [str(error)]
        found = guidance_problems + self.integrator.problems(path)
        name = type(self.integrator).__name__
        if self.integrator.solves_sde() and self.diffusion is None:
            found.append(f"{name} solves an SDE and needs a diffusion coefficient")
        if not self.integrator.solves_sde() and self.diffusion is not None:
            solves = "chooses its noise" if self.integrator.stochastic else "solves an ODE"
            found.append(f"{name} {solves} and ignores a diffusion coefficient: remove one of the two")
        if self.diffusion is not None:
            found += self.diffusion.problems(path)
        if isinstance(self.times, TimeGrid):
            found += self.times.problems(path)
        missing = sorted(quantity.value for quantity in self._needs() if not model.can_predict(quantity))
        if missing:
            found.append(f"{name} needs the {' and the '.join(missing)}, which this model does not give")
        return found or self._undetermined(model, path)

    def sampled(self, model: Predictor, path: Path, y: Condition = None) -> tuple[Predictor, Path]:
        """The model and the path as they are sampled: guided, and on `schedule`, if there is one."""
        if self.guidance is not None and not (y is None and self.guidance.needs_condition):
            model = self.guidance.guide(model)  # before, as guidance speaks of the times of the model
        return self.rescheduled(model, path)

    def dynamics(self, model: Predictor, path: Path, y: Condition = None) -> Dynamics:
        """The ODE or SDE that is solved."""
        guided, path = self.sampled(model, path, y)
        if not self.integrator.solves_sde():
            return ODE(guided, y=y, path=path)
        if self.diffusion is None:
            raise UnsupportedError(f"{type(self.integrator).__name__} solves an SDE: give it a diffusion coefficient")
        return SDE(guided, self.diffusion, path=path, y=y)

    @property
    def looks_at_models(self) -> bool:
        """Whether its grid depends on the model, and `fitted` changes it."""
        return isinstance(self.times, TimeGrid) and type(self.times).fitted is not TimeGrid.fitted

    def fitted(
        self, model: Predictor, path: Path, x0: Tensor, y: Condition = None, cost: Cost | None = None
    ) -> "Sampler":
        """The sampler with a grid that has seen the model, if the grid looks at models.

        Arguments:
            model: What is sampled.
            path: The path that it is of.
            x0: Draws of p_init to send pilots from, shape (batch, *event).
            y: Their conditions.
            cost: Has the evaluations of the pilots added to it.
        """
        if not (isinstance(self.times, TimeGrid) and self.looks_at_models):
            return self
        guided, path = self.sampled(model, path, y)
        generator = torch.Generator(x0.device).manual_seed(0)
        ode = ODE(guided, y=y, path=path)
        grid = self.times.fitted(ode, _start(path, x0, self.grid(path), generator))
        if cost is not None:
            cost.evaluations += ode.evaluations
        return replace(self, times=grid)

    def grid(self, path: Path | None = None) -> list[float]:
        """The times, for a path as it is sampled."""
        if isinstance(self.times, TimeGrid):
            return self.times.times(self.steps, path).tolist()
        return torch.as_tensor(self.times, dtype=torch.float64).tolist()

    def trajectory(
        self,
        model: Predictor,
        path: Path,
        x0: Tensor,
        y: Condition = None,
        generator: Generator | None = None,
    ) -> Iterator[Tensor]:
        """The states at `grid()`, from x0 as for `sample` to the samples."""
        dynamics = self.dynamics(model, path, y)
        path = dynamics.path or path
        times = self.grid(path)
        return self.integrator.trajectory(dynamics, _start(path, x0, times, generator), times, generator)

    def sample(
        self,
        model: Predictor,
        path: Path,
        x0: Tensor,
        y: Condition = None,
        generator: Generator | None = None,
        cost: Cost | None = None,
    ) -> Tensor:
        """The samples that x0 is carried to, shape (batch, *event).

        x0 are draws of p_init for times that rise, and states at the first time, such as data, for times that fall.
        """
        dynamics = self.dynamics(model, path, y)
        path = dynamics.path or path
        times = self.grid(path)
        x = self.integrator.integrate(dynamics, _start(path, x0, times, generator), times, generator)
        if cost is not None:
            cost.add(dynamics)
        return x

    def _needs(self) -> set[Quantity]:
        return {*self.integrator.needs, *((Quantity.SCORE,) if self.integrator.solves_sde() else ())}

    def _undetermined(self, model: Predictor, path: Path) -> list[str]:
        """Ask the path at the ends of the grid: some quantities are not determined there."""
        heads = model.quantities
        if not heads:
            return []
        times = self.grid(path)
        ends = [times[0], times[-1]] if self.integrator.evaluates_end else [times[0]]
        found, one = [], torch.ones(1, 1, dtype=torch.float64)
        for t in ends:
            for quantity in sorted(self._needs() - set(heads), key=lambda quantity: quantity.value):
                given = next(head for head in heads if path.can_convert(head, quantity))
                try:
                    path.convert(one, one, t, given, quantity)
                except UnsupportedError as error:
                    found.append(
                        f"at t = {t:g}: {error} (a grid with 'start' or 'end' inside (0, 1), an integrator that "
                        f"does not evaluate there, or a head that predicts the {quantity.value} does)"
                    )
        return found


def _start(path: Path, x0: Tensor, times: Sequence[float], generator: Generator | None) -> Tensor:
    """The state at the first of the times: made from draws of p_init if they rise, given if they fall."""
    if times[-1] < times[0]:
        return x0
    scale = path.start_scale(times[0])
    x = x0 if scale == 1 else scale * x0
    noise = path.start_noise(times[0])
    return x + noise * randn_like(x, generator) if noise else x


def _grid(
    times: TimeGrid | Sequence[float] | Tensor | None, steps: int | None
) -> tuple[TimeGrid | Tensor | Sequence[float], int]:
    """What lays the steps that `sample` is asked for, and how many."""
    given = times is not None and (times.own_steps if isinstance(times, TimeGrid) else True)
    if given and steps is not None:
        raise UnsupportedError(f"steps={steps} makes no difference beside times that are given: leave one of them out")
    count = 50 if steps is None else steps
    if count < 1:
        raise UnsupportedError(f"steps should be at least 1; got {steps}")
    return (torch.linspace(0, 1, count + 1, dtype=torch.float64) if times is None else times), count


@torch.no_grad()
def sample(
    model: Predictor,
    x0: Tensor,
    y: Condition = None,
    *,
    integrator: Integrator,
    steps: int | None = None,
    times: TimeGrid | Sequence[float] | Tensor | None = None,
    path: Path | None = None,
    diffusion: DiffusionCoefficient | None = None,
    guidance: Guidance | None = None,
    schedule: Schedule | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Carry x0 to samples.

    Arguments:
        model: Gives velocity, and the score if the integrator is stochastic.
        x0: Draws of p_init, shape (batch, *event); for times that fall, states at the first of them, such as data.
        y: Conditions.
        integrator: Solves the ODE or SDE.
        steps: How many, 50 by default; equal ones from 0 to 1 unless `times` lays them.
        times: A grid that lays the steps, or the times to step through themselves. From a first one after 0 a path
            starts at `Path.start_scale` * x0.
        path: Which path the model is of; by default the model's own.
        diffusion: sigma_t, for a stochastic integrator.
        guidance: Steers the model, most often by the condition.
        schedule: Another schedule than that of the model's path to sample on.
        generator: The source of the noise of an SDE, and of a path that has some where it starts.

    Returns:
        Shape (batch, *event).

    Raises:
        UnsupportedError: The model does not give what the integrator needs, there are steps beside times that need
            none, or guidance by the condition without y.

    Examples:
        >>> x = sample(model, torch.randn(1000, 2), integrator=Heun(), steps=50)
    """
    require_object("integrator", integrator, Integrator)
    for kind, value, interface in (
        ("path", path, Path),
        ("diffusion", diffusion, DiffusionCoefficient),
        ("guidance", guidance, Guidance),
        ("schedule", schedule, Schedule),
    ):
        if value is not None:
            require_object(kind, value, interface)
    if isinstance(times, str):
        raise UnsupportedError(f"times takes numbers or a grid, as from fk.create('grid', ...); got {times!r}")
    if guidance is not None and guidance.needs_condition and y is None:
        name = type(guidance).__name__
        raise UnsupportedError(f"{name} steers by the condition: give y, or leave the guidance out")
    found = path or getattr(model, "path", None)
    if not isinstance(found, Path):
        raise UnsupportedError("this model does not say its path: pass path=...")
    sampler = Sampler(integrator, *_grid(times, steps), diffusion=diffusion, guidance=guidance, schedule=schedule)
    if problems := sampler.problems(model, found):
        raise UnsupportedError("; ".join(problems))
    return sampler.sample(model, found, x0, y, generator)
