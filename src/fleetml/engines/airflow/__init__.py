"""Airflow 3 runs a plan: a DAG of its own, or a task group in a DAG that a team wrote by hand::

    from fleetml.engines.airflow import PipelineDag, PipelineTaskGroup, load_dags

    load_dags("/path/to/pipelines", globals())  # one DAG per IR

Neither kfp nor any ML library is imported here: the Airflow environment holds none.
"""

from fleetml.engines.airflow.dag import PipelineDag, PipelineTaskGroup
from fleetml.engines.airflow.loader import check_dags, load_dags
from fleetml.engines.airflow.source import dag_id

__all__ = ["PipelineDag", "PipelineTaskGroup", "check_dags", "dag_id", "load_dags"]
