"""`bel-sweep extend`: the best trials of a sweep go on to more epochs."""
