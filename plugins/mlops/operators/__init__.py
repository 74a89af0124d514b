"""Operators, named after the verbs of the lifecycle."""
