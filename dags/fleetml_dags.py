"""The file that Airflow parses: every pipeline in this folder becomes a DAG. What cannot, fleetml_errors.py tells."""

from pathlib import Path

from fleetml.engines.airflow import load_dags

load_dags(Path(__file__).parent, globals(), errors=False)  # airflow dag
