"""Conditional flow matching, denoising score matching, weightings and distributions of t."""
