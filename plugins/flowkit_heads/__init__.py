"""Heads: velocity, score, noise, data, v, EDM, and velocity with score."""
