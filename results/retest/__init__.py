"""A checkpoint evaluated again, exported, or a published one measured: bel-eval, bel-export."""
