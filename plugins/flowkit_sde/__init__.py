"""SDE integrators and diffusion coefficients."""
