"""Gaussian paths, their schedules, and the standard normal source."""
