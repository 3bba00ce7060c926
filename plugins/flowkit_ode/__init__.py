"""ODE integrators and time grids."""
