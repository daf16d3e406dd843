"""Binary-encoded labels for deep regression: codes, heads, data, one training run and its evaluation."""
