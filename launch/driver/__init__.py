"""The process that runs a sweep through Ray Tune, and the trials that it starts."""
