"""`bel-results report`: a sweep on one HTML page."""
