"""Every component that a workflow's task may be, once: `fleetml compile` writes their interfaces for fleetml.workflow."""

from kfp import dsl

from components.automl.component import automl_tabular
from components.register.component import champion
from components.tabular.component import deploy, evaluate, extract, predict, prepare, train, tune, validate


@dsl.pipeline(name="tasks")
def tasks(dataset_path: str):  # type: ignore[no-untyped-def]  # kfp takes an annotation for an output
    """No pipeline to run: a workflow names its tasks itself."""
    data = {"dataset": prepare(dataset_path=dataset_path).outputs["dataset"]}
    extract(**data)
    tune(**data)
    automl_tabular(**data)
    made = {"model": train(**data).outputs["model"]}
    evaluate(**data, **made)
    validate(**data, **made)
    predict(**data, **made)
    deploy(**data, **made)
    champion()
