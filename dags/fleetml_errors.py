"""The import error of the pipelines in this folder that cannot become DAGs; no DAG is in this file."""

from pathlib import Path

from fleetml.engines.airflow import check_dags

check_dags(Path(__file__).parent)  # airflow dag
