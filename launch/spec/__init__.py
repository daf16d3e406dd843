"""What a sweep file says: its keys, its search space, and which combinations of values are valid."""
