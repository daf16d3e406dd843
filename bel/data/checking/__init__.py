"""Check of a data folder: all files read, compared with the lists and with each other, and reported."""
