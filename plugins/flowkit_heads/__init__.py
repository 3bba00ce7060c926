"""Heads: velocity, score, noise, data, v, and velocity with score."""
