"""Measures the whole program against what the machine can do at all."""
