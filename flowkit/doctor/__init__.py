"""The state of the environment: what is there, what is slow or broken, and the way out."""
