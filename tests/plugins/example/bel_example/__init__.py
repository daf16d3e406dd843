"""An example of a plug-in for BEL Sweeps: a head with a loss and a config field of its own, and a reader."""
