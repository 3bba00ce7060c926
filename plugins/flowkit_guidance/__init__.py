"""Guidance: steering sampling by the condition."""
