"""torchdiffeq as an integrator."""
