"""flowkit: flow-matching and diffusion models in PyTorch, every part a plugin.

Everything public is importable from here; nothing, torch least of all, is imported before it is used.
"""

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from .agreement import same_path as same_path
    from .agreement import unlike_data as unlike_data
    from .batch import Batch as Batch
    from .conditions import Condition as Condition
    from .conditions import concat_conditions as concat_conditions
    from .conditions import drop_condition as drop_condition
    from .conditions import no_condition as no_condition
    from .conditions import select_condition as select_condition
    from .config.schema import json_schema as json_schema
    from .divergence import Divergence as Divergence
    from .divergence import ExactDivergence as ExactDivergence
    from .divergence import Hutchinson as Hutchinson
    from .divergence import HutchPlusPlus as HutchPlusPlus
    from .doctor.diagnose import diagnose as diagnose
    from .doctor.finding import Finding as Finding
    from .dynamics import ODE as ODE
    from .dynamics import SDE as SDE
    from .dynamics import Dynamics as Dynamics
    from .errors import CheckpointError as CheckpointError
    from .errors import ConfigError as ConfigError
    from .errors import DataError as DataError
    from .errors import FlowkitError as FlowkitError
    from .errors import FlowkitWarning as FlowkitWarning
    from .errors import PluginError as PluginError
    from .errors import RunExistsError as RunExistsError
    from .errors import TrainingError as TrainingError
    from .errors import TrainingInterrupted as TrainingInterrupted
    from .errors import UnknownComponentError as UnknownComponentError
    from .errors import UnsupportedError as UnsupportedError
    from .evaluation import Evaluation as Evaluation
    from .evaluation import evaluate as evaluate
    from .injection import EventShape as EventShape
    from .injection import NumClasses as NumClasses
    from .injection import Outputs as Outputs
    from .injection import TrainingData as TrainingData
    from .interfaces.callback import Callback as Callback
    from .interfaces.callback import TrainingState as TrainingState
    from .interfaces.coupling import Coupling as Coupling
    from .interfaces.data import Dataset as Dataset
    from .interfaces.data import DataSource as DataSource
    from .interfaces.data import DataSpec as DataSpec
    from .interfaces.data import InMemory as InMemory
    from .interfaces.data import Normalization as Normalization
    from .interfaces.diffusion import DiffusionCoefficient as DiffusionCoefficient
    from .interfaces.guidance import Guidance as Guidance
    from .interfaces.head import Head as Head
    from .interfaces.integrator import Integrator as Integrator
    from .interfaces.loss import Loss as Loss
    from .interfaces.loss import Weighting as Weighting
    from .interfaces.metric import Metric as Metric
    from .interfaces.network import Network as Network
    from .interfaces.path import Path as Path
    from .interfaces.predictor import Predictor as Predictor
    from .interfaces.quantity import Quantity as Quantity
    from .interfaces.schedule import Schedule as Schedule
    from .interfaces.source import Source as Source
    from .interfaces.time import TimeGrid as TimeGrid
    from .interfaces.time import TimeSampler as TimeSampler
    from .likelihood import LogProb as LogProb
    from .likelihood import bits_per_dim as bits_per_dim
    from .likelihood import estimate_log_prob as estimate_log_prob
    from .likelihood import log_prob as log_prob
    from .model import Model as Model
    from .pipeline.builder import PipelineBuilder as PipelineBuilder
    from .pipeline.create import create as create
    from .pipeline.pipeline import Pipeline as Pipeline
    from .pipeline.runs import RunState as RunState
    from .pipeline.runs import list_runs as list_runs
    from .profiling.profile import Profile as Profile
    from .profiling.sampling import profile_sampling as profile_sampling
    from .profiling.training import profile as profile
    from .progress import ProgressBar as ProgressBar
    from .random import BlockGenerator as BlockGenerator
    from .random import Generator as Generator
    from .random import ShareGenerator as ShareGenerator
    from .random import draw as draw
    from .random import randn_like as randn_like
    from .report import Report as Report
    from .sampling import Cost as Cost
    from .sampling import Sampler as Sampler
    from .sampling import sample as sample
    from .scaffold import NewPlugin as NewPlugin
    from .scaffold import new_plugin as new_plugin
    from .shapes import Time as Time
    from .shapes import batch_times as batch_times
    from .shapes import expand_time as expand_time
    from .shapes import holds_anywhere as holds_anywhere
    from .shapes import time_tensor as time_tensor

__version__ = "0.1.0"

_MODULES = {
    "agreement": ("same_path", "unlike_data"),
    "batch": ("Batch",),
    "conditions": (
        "Condition",
        "concat_conditions",
        "drop_condition",
        "no_condition",
        "select_condition",
    ),
    "config.schema": ("json_schema",),
    "divergence": (
        "Divergence",
        "ExactDivergence",
        "HutchPlusPlus",
        "Hutchinson",
    ),
    "doctor.diagnose": ("diagnose",),
    "doctor.finding": ("Finding",),
    "dynamics": (
        "ODE",
        "SDE",
        "Dynamics",
    ),
    "errors": (
        "CheckpointError",
        "ConfigError",
        "DataError",
        "FlowkitError",
        "FlowkitWarning",
        "PluginError",
        "RunExistsError",
        "TrainingError",
        "TrainingInterrupted",
        "UnknownComponentError",
        "UnsupportedError",
    ),
    "evaluation": (
        "Evaluation",
        "evaluate",
    ),
    "injection": (
        "EventShape",
        "NumClasses",
        "Outputs",
        "TrainingData",
    ),
    "interfaces.callback": (
        "Callback",
        "TrainingState",
    ),
    "interfaces.coupling": ("Coupling",),
    "interfaces.data": (
        "DataSource",
        "DataSpec",
        "Dataset",
        "InMemory",
        "Normalization",
    ),
    "interfaces.diffusion": ("DiffusionCoefficient",),
    "interfaces.guidance": ("Guidance",),
    "interfaces.head": ("Head",),
    "interfaces.integrator": ("Integrator",),
    "interfaces.loss": (
        "Loss",
        "Weighting",
    ),
    "interfaces.metric": ("Metric",),
    "interfaces.network": ("Network",),
    "interfaces.path": ("Path",),
    "interfaces.predictor": ("Predictor",),
    "interfaces.quantity": ("Quantity",),
    "interfaces.schedule": ("Schedule",),
    "interfaces.source": ("Source",),
    "interfaces.time": (
        "TimeGrid",
        "TimeSampler",
    ),
    "likelihood": (
        "LogProb",
        "bits_per_dim",
        "estimate_log_prob",
        "log_prob",
    ),
    "model": ("Model",),
    "pipeline.builder": ("PipelineBuilder",),
    "pipeline.create": ("create",),
    "pipeline.pipeline": ("Pipeline",),
    "pipeline.runs": ("RunState", "list_runs"),
    "profiling.profile": ("Profile",),
    "profiling.sampling": ("profile_sampling",),
    "profiling.training": ("profile",),
    "progress": ("ProgressBar",),
    "random": (
        "BlockGenerator",
        "Generator",
        "ShareGenerator",
        "draw",
        "randn_like",
    ),
    "report": ("Report",),
    "sampling": (
        "Cost",
        "Sampler",
        "sample",
    ),
    "scaffold": ("NewPlugin", "new_plugin"),
    "shapes": (
        "Time",
        "batch_times",
        "expand_time",
        "holds_anywhere",
        "time_tensor",
    ),
}

__all__ = sorted(name for names in _MODULES.values() for name in names)

__getattr__ = lazy_names(__name__, _MODULES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
