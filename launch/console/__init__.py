"""What a sweep prints: progress while it runs, a summary at its end."""
