"""Flow matching, score matching and prediction losses, weightings and distributions of t."""
