"""Whether a partition is right: rules by Great Expectations, by DuckDB, and against other data."""
