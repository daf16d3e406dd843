"""Check of a data folder: all files read, compared with the lists and with each other, and reported."""

from bel.data.checking.folder import check
from bel.data.checking.report import Report

__all__ = ["Report", "check"]
