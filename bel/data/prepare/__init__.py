"""Prepared data: each image decoded, cropped and resized once into an array that every trial maps."""
