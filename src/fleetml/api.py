"""FleetML from Python, without blocking an event loop.

    run = await submit_ml_workflow(spec)          # checked, started
    result = await run                            # RunResult; cancelling this cancels the run
    best = await optimize_hyperparameters({"workflow_spec": spec, "hyperparameter_config": {...}})
    model = await register_ml_model({"name": "fraud", "version": "v1.2.0"}, result)
    await deploy_ml_model(model, {"target": "production", "scaling_config": {"min_replicas": 2}})

Every function checks what it is given first and raises a `fleetml.errors.FleetMLError` with place and remedy. They work on
the installation that `Settings.from_environment` finds, or on `settings`.
"""

from fleetml.workflow.grammar import InvalidWorkflow
from fleetml.workflow.models import DeployedModel, RegisteredModel, deploy_ml_model, register_ml_model
from fleetml.workflow.optimise import OptimisationResult, Trial, optimize_hyperparameters
from fleetml.workflow.runs import RunFailed, RunResult, TaskResult, WorkflowRun, submit_ml_workflow

__all__ = [
    "DeployedModel",
    "InvalidWorkflow",
    "OptimisationResult",
    "RegisteredModel",
    "RunFailed",
    "RunResult",
    "TaskResult",
    "Trial",
    "WorkflowRun",
    "deploy_ml_model",
    "optimize_hyperparameters",
    "register_ml_model",
    "submit_ml_workflow",
]
