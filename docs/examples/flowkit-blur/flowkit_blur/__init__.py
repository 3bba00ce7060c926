"""A path that sharpens while it denoises."""
