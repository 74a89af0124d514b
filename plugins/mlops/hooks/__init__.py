"""A hook turns an Airflow Connection into a client, nothing else."""
