"""Rows: sources, validation, quarantine, publishing, and reading them as of a point in time."""
