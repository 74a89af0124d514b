"""The lifecycle of a model in plain Python: no Airflow in here, so it runs anywhere."""
