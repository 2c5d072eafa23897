"""Measurements: what the project claims about speed, and the programs that measure it."""
