"""A trained network in use: published checkpoints read, and a module from image bytes to predictions."""
