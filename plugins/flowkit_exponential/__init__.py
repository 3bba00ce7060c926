"""Exponential integrators: samplers that solve the linear part of a Gaussian path's ODE exactly."""
