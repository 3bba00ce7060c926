"""Heads: velocity, score, noise, data, and velocity with score."""
