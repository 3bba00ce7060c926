"""Two-sided paths: from any distribution to any other, with noise of their own."""
