"""Pipelines: all parts of a model, from data to samples, under one configuration."""
