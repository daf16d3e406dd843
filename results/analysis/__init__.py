"""Statistics over runs: configurations, rankings, paired differences, folds."""
