"""`check_path`, `check_network`, ...: the checks of one kind, for objects of its interface."""

from collections.abc import Mapping
from typing import Generic, TypeVar

from torch import nn

from ..interfaces.callback import Callback
from ..interfaces.coupling import Coupling
from ..interfaces.data import DataSource
from ..interfaces.diffusion import DiffusionCoefficient
from ..interfaces.guidance import Guidance
from ..interfaces.head import Head
from ..interfaces.integrator import Integrator
from ..interfaces.loss import Loss, Weighting
from ..interfaces.metric import Metric
from ..interfaces.path import Path
from ..interfaces.predictor import Predictor
from ..interfaces.schedule import Schedule
from ..interfaces.source import Source
from ..interfaces.time import TimeGrid, TimeSampler
from ..plugins.manager import PluginManager
from .report import Report
from .run import check_component

__all__ = [
    "check_callback",
    "check_coupling",
    "check_data",
    "check_diffusion",
    "check_field",
    "check_grid",
    "check_guidance",
    "check_head",
    "check_integrator",
    "check_loss",
    "check_metric",
    "check_network",
    "check_path",
    "check_schedule",
    "check_source",
    "check_time",
    "check_weighting",
]

T = TypeVar("T")


class KindCheck(Generic[T]):
    """`check_component` for one kind.

    Arguments:
        kind: The kind.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(
        self,
        component: T,
        *,
        event_shape: tuple[int, ...] = (2,),
        num_classes: int | None = None,
        expected_failures: Mapping[str, str] | None = None,
        plugins: PluginManager | None = None,
    ) -> Report:
        """Check one object; see `check_component`."""
        return check_component(
            component,
            self.kind,
            event_shape=event_shape,
            num_classes=num_classes,
            expected_failures=expected_failures,
            plugins=plugins,
        )


check_callback: KindCheck[Callback] = KindCheck("callback")
check_coupling: KindCheck[Coupling] = KindCheck("coupling")
check_data: KindCheck[DataSource] = KindCheck("data")
check_diffusion: KindCheck[DiffusionCoefficient] = KindCheck("diffusion")
check_field: KindCheck[Predictor] = KindCheck("field")
check_grid: KindCheck[TimeGrid] = KindCheck("grid")
check_guidance: KindCheck[Guidance] = KindCheck("guidance")
check_head: KindCheck[Head] = KindCheck("head")
check_integrator: KindCheck[Integrator] = KindCheck("integrator")
check_loss: KindCheck[Loss] = KindCheck("loss")
check_metric: KindCheck[Metric] = KindCheck("metric")
check_network: KindCheck[nn.Module] = KindCheck("network")
check_path: KindCheck[Path] = KindCheck("path")
check_schedule: KindCheck[Schedule] = KindCheck("schedule")
check_source: KindCheck[Source] = KindCheck("source")
check_time: KindCheck[TimeSampler] = KindCheck("time")
check_weighting: KindCheck[Weighting] = KindCheck("weighting")
