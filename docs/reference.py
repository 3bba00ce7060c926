"""The reference of the site, written from the docstrings when the site is built (`hooks` in mkdocs.yml).

A page for each group of public names, and one for each kind of component with all that flowkit brings of it.
"""

import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowkit.cli.show import component_rows
from flowkit.config.docstring import sections_of
from flowkit.plugins import KINDS, Entry, PluginManager, Registry

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PYTHON = {
    "interfaces": (
        "Interfaces",
        "What a component of each kind is asked, and what it must say.",
        "flowkit",
        "Schedule Path Coupling Source DataSource DataSpec Dataset InMemory Normalization Batch Network Head Loss "
        "Weighting TimeSampler TimeGrid Integrator DiffusionCoefficient Guidance Metric Callback TrainingState "
        "Predictor Quantity EventShape Outputs NumClasses TrainingData",
    ),
    "pipelines": (
        "Pipelines and runs",
        "Complete configurations: built, trained, sampled, saved and loaded.",
        "flowkit",
        "create Pipeline PipelineBuilder Report RunState list_runs json_schema profile profile_sampling Profile "
        "ProgressBar diagnose Finding new_plugin NewPlugin FlowkitError ConfigError DataError UnsupportedError "
        "UnknownComponentError PluginError TrainingError TrainingInterrupted CheckpointError RunExistsError "
        "FlowkitWarning",
    ),
    "sampling": (
        "Models and sampling",
        "The same pieces in a program of your own, and what formulas over batches need.",
        "flowkit",
        "Model Dynamics ODE SDE sample Sampler Cost log_prob estimate_log_prob LogProb bits_per_dim Divergence "
        "ExactDivergence Hutchinson HutchPlusPlus evaluate Evaluation Condition no_condition drop_condition "
        "select_condition concat_conditions Time batch_times expand_time time_tensor holds_anywhere Generator "
        "BlockGenerator ShareGenerator draw randn_like same_path unlike_data",
    ),
    "plugins": (
        "Plugins",
        "What a plugin declares, the hooks that flowkit calls, and the host that finds plugins.",
        "flowkit.plugins",
        "Component Recipe Kind Command hookimpl ConfigurationBuilt TrainingStarted StepEnded TrainingEnded "
        "CheckpointSaved CheckpointLoaded SamplingStarted SamplingEnded ReportDraft ReportBuilt Section Image "
        "PLUGIN_API OLDEST_PLUGIN_API KINDS PluginManager PluginRecord installed_plugins Registry Entry HookFailure",
    ),
    "testing": (
        "Checks",
        "Whether a component does what its kind promises.",
        "flowkit.testing",
        "check_component check_plugin parametrize_with_checks check_callback check_coupling check_data check_diffusion "
        "check_field check_grid check_guidance check_head check_integrator check_loss check_metric check_network "
        "check_path check_schedule check_source check_time check_weighting Report Outcome CheckList Check Subject "
        "NotApplicable NotChecked require require_close",
    ),
}
"""Of each page: its title, a line, the package, and its names in the order of the page."""


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages to the site."""
    from mkdocs.structure.files import File

    for name, text in (*python_pages(), *component_pages()):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def python_pages() -> Iterator[tuple[str, str]]:
    """The pages of the public names, each with its name."""
    for page, (title, line, package, names) in PYTHON.items():
        entries = "\n\n".join(f"::: {package}.{name}" for name in names.split())
        yield page, f"# {title}\n\n{line} All of these are names of `{package}`.\n\n{entries}\n"


def component_pages() -> Iterator[tuple[str, str]]:
    """The pages of the components that come with flowkit, each with its name."""
    registry = PluginManager.discover({"FLOWKIT_PLUGINS": "flowkit-torch"}).registry
    for kind in KINDS.values():
        entries = "\n\n".join(component_text(entry, registry) for entry in registry.of_kind(kind.name))
        yield f"components/{kind.name}", f"# {kind.name}\n\nThe kind `{kind.name}`: {kind.summary}.\n\n{entries}\n"


def component_text(entry: Entry, registry: Registry) -> str:
    """What `flowkit show` says of a component."""
    cls = registry.load(entry)
    sections = sections_of(cls)
    rows = "".join(settings_row(*row) for row in component_rows(cls, registry))
    references = re.sub(r"(https?://\S+|\.)\n(?!http)", r"\1\n\n", textwrap.dedent(sections.get("References", "")))
    parts = (
        f"## {entry.component.name}",
        sections[""],
        f"| setting | type | default | what it is |\n|---|---|---|---|\n{rows}" if rows else "It has no settings.",
        references,
        f"`{entry.target}`",
    )
    return "\n\n".join(filter(None, parts))


def settings_row(name: str, kind: str, default: str, meaning: str) -> str:
    """A row of a table in Markdown, where `|` would end a cell."""
    return f"| `{name}` | {kind.replace(' | ', ' or ')} | `{default}` | {meaning.replace('|', '&#124;')} |\n"
