"""Everything that knows Airflow: operators, hooks, links and views of the lifecycle."""
