"""Metrics: distances between samples and data."""
