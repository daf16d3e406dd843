"""Rendered heads of exactly known pose, written in the layouts of BIWI and of 300W_LP + AFLW2000, or beside a table."""

from bel.data.synthetic.layouts import LAYOUTS
from bel.data.synthetic.sets import synthesise

__all__ = ["LAYOUTS", "synthesise"]
