"""What runs next, and what stops: searchers, schedulers, repeats over seeds and folds."""
