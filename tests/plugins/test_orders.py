"""No registered integrator claims an order of convergence that no test holds it to."""

import importlib.util
from pathlib import Path

import pytest

import flowkit as fk
from flowkit import Integrator
from flowkit.plugins import installed_plugins

# Where convergence is measured, to 0.2, and the tables that say of what: name to integrator, or to a tuple with one.
MEASURED = {
    "test_ode.py": {"INTEGRATORS": "test_the_error_falls_with_the_order_of_the_method"},
    "test_ode_adaptive.py": {"METHODS": "test_the_formula_without_control_has_its_order"},
    "test_exponential.py": {"INTEGRATORS": "test_the_error_falls_with_the_order_of_the_method"},
    "test_sde_orders.py": {
        "SOLVERS": "test_the_error_along_a_brownian_path_falls_with_the_strong_order",
        "SAMPLERS": "test_the_variance_of_a_sampler_converges_with_its_weak_order",
    },
}
BY_ORDER = {"adams_bashforth": "test_a_multistep_method_has_its_order_on_steps_of_any_lengths"}
"""Methods whose setting is the order: in test_ode.py."""


def load(file):
    """A test file as a module."""
    spec = importlib.util.spec_from_file_location(f"orders_of_{file[:-3]}", Path(__file__).parent / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def the_class(entry):
    """That of an integrator in a table: itself, an instance, a function of the number of steps, or first in a tuple."""
    entry = entry[0] if isinstance(entry, tuple) else entry
    if isinstance(entry, type):
        return entry
    return type(entry if isinstance(entry, Integrator) else entry(10))


@pytest.fixture(scope="module")
def measured():
    """The classes whose order a test measures."""
    found = set()
    for file, tables in MEASURED.items():
        module = load(file)
        for table, test in tables.items():
            assert callable(getattr(module, test))
            found |= {the_class(entry) for entry in getattr(module, table).values()}
    ode = load("test_ode.py")
    for name, test in BY_ORDER.items():
        assert callable(getattr(ode, test))
        found.add(type(fk.create("integrator", name)))
    return found


@pytest.mark.parametrize("name", [entry.component.name for entry in installed_plugins().registry.of_kind("integrator")])
def test_the_order_of_every_registered_integrator_is_measured(name, measured):
    """One that is new belongs into a table of the file where its family is."""
    integrator = fk.create("integrator", name)
    assert integrator.order > 0
    assert type(integrator) in measured, f"no test holds {name!r} to its order: see MEASURED"
