"""Images and labels: readers of the datasets as published, prepared arrays, grouped splits, batches."""
