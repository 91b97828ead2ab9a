"""Airflow 3 runs a plan: one DAG per IR. In any Airflow environment, one file in the DAG folder is enough::

    from fleetml.engines.airflow import load_dags

    load_dags("/path/to/pipelines", globals())

Neither kfp nor any ML library is imported here: the Airflow environment holds none.
"""

from fleetml.engines.airflow.dag import build_dag, dag_id
from fleetml.engines.airflow.loader import load_dags

__all__ = ["build_dag", "dag_id", "load_dags"]
