"""The one file that Airflow parses: every pipeline in this folder becomes a DAG."""

from pathlib import Path

from fleetml.engines.airflow import load_dags

load_dags(Path(__file__).parent, globals())  # airflow dag
