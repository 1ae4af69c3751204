"""Measurements against other programs on the same machine; ``make bench`` prints them."""
