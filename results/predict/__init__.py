"""The command `bel-predict`: pictures and videos of one's own, read by a trained network."""
