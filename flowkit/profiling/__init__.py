"""Where the time goes, in training and in sampling."""
