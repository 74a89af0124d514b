"""Watching a served model: drift, performance, windows, and the governor of retraining."""
