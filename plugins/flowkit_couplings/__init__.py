"""Couplings: which x0 goes with which z."""
