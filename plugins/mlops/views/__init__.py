"""Pages that Airflow serves for the lifecycle."""
