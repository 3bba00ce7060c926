"""Complete configurations to start from."""
