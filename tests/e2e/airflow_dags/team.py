"""What a team might write: pipelines among operators of its own, and one that follows another."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, task

from fleetml.engines.airflow import PipelineDag, PipelineTaskGroup

with DAG("team", schedule=None, params={"folder": "", "needed": 1}, default_args={"pool": "default_pool"}):

    @task
    def number(params: dict) -> int:
        return params["needed"]

    needed = number()
    first = PipelineTaskGroup("first", "double", {"needed": needed})
    second = PipelineTaskGroup("second", "double", {"needed": "{{ params.needed + 1 }}"})

    @task
    def use(said: dict) -> int:
        return said["result"]

    used = use(first.output)
    stays = PipelineTaskGroup("stays", "lingering", {"folder": "{{ params.folder }}"})
    [first, second] >> stays >> EmptyOperator(task_id="after")

follower = PipelineDag("follower", pipeline="double", parameters={"needed": 50}, schedule=[Asset("fleetml://patient")])
