"""Binary-encoded labels for deep regression: codes, heads, data, one training run and its evaluation."""

from bel.training import source as source  # first of all: it reads the source that is imported from now on
