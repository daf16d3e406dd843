"""Label encodings: 0/1 matrices (levels, bits) by name, at random or from a file, and their properties."""
