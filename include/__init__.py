"""Everything of the project that is not a DAG or an Airflow plugin."""
