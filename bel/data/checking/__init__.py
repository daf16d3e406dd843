"""What is wrong with a data folder: read whole, compared with its lists and with itself, and reported."""

from bel.data.checking.folder import check
from bel.data.checking.report import Report

__all__ = ["Report", "check"]
