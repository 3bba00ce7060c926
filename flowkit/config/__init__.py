"""Configurations: what a component may be told, what a file says, and everything that is wrong with it."""
