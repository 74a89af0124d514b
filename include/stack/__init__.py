"""How the local stack runs: PostgreSQL, Airflow, MLflow and the model server on one machine.

`python -m include.stack up` is the way in for people, `include.stack.stack.running_stack` for
programs. Nothing here imports Airflow: it is run, not called.
"""
