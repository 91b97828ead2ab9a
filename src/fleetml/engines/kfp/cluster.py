"""A KFP cluster through the official client: find or make, never twice, and every failure in words."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetml.errors import ConfigurationError, FleetMLError, Unavailable


class Cluster:
    """One KFP API server at `host` (http(s)://…). `token` is sent as a bearer token; `namespace` is for multi-user."""

    def __init__(self, host: str, token: str = "", namespace: str = "") -> None:
        if not host.startswith(("http://", "https://")):
            raise ConfigurationError(f"the KFP host must begin with http:// or https://, got {host!r}; give --host")
        if importlib.util.find_spec("kfp") is None:
            raise ConfigurationError(
                "submission needs kfp, which this Python lacks; use .venv/ml, or: pip install 'fleetml[kfp]'"
            )
        self.host = host.rstrip("/")
        self._namespace = namespace or None
        with self._asking():
            import kfp

            _greet(self.host, token)
            self._client = kfp.Client(host=self.host, existing_token=token or None, namespace=namespace or "kubeflow")

    def pipeline(self, name: str, description: str) -> str:
        """Return the id of the pipeline called `name`, made if there is none."""
        with self._asking():
            found = self._client.list_pipelines(filter=_named(name), namespace=self._namespace).pipelines
            if found:
                return str(found[0].pipeline_id)
            import kfp_server_api

            body = kfp_server_api.V2beta1Pipeline(
                display_name=name, name=name, description=description, namespace=self._namespace
            )
            return str(self._client.pipelines.pipeline_service_create_pipeline(body).pipeline_id)

    def version(self, pipeline_id: str, package: Path, name: str) -> str:
        """Return the id of the pipeline's version called `name`, uploaded from `package` if there is none."""
        with self._asking():
            found = self._client.list_pipeline_versions(pipeline_id, filter=_named(name)).pipeline_versions
            if found:
                return str(found[0].pipeline_version_id)
            made = self._client.upload_pipeline_version(str(package), name, pipeline_id=pipeline_id)
            return str(made.pipeline_version_id)

    def experiment(self, name: str) -> str:
        """Return the id of the experiment called `name`, made if there is none."""
        with self._asking():
            return str(self._client.create_experiment(name, namespace=self._namespace).experiment_id)

    def run(
        self, experiment_id: str, name: str, pipeline_id: str, version_id: str, parameters: Mapping[str, Any]
    ) -> str:
        """Start a run; return its id."""
        with self._asking():
            made = self._client.run_pipeline(
                experiment_id, name, params=dict(parameters), pipeline_id=pipeline_id, version_id=version_id
            )
            return str(made.run_id)

    def recurring_run(
        self,
        experiment_id: str,
        name: str,
        pipeline_id: str,
        version_id: str,
        parameters: Mapping[str, Any],
        cron: str,
    ) -> str:
        """Let the pipeline recur, one run at a time, and end earlier recurring runs of the same name; return the id."""
        with self._asking():
            earlier = self._client.list_recurring_runs(experiment_id=experiment_id, filter=_named(name)).recurring_runs
            made = self._client.create_recurring_run(
                experiment_id,
                name,
                cron_expression=cron,
                max_concurrency=1,
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
            )
            for old in earlier or ():
                self._client.delete_recurring_run(old.recurring_run_id)
            return str(made.recurring_run_id)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Keep the client's prints and warnings to itself and say its errors in our words."""
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import kfp_server_api
            import urllib3

            try:
                yield
            except kfp_server_api.ApiException as error:
                raise self._said(error.status, error.body, error.reason) from None
            except urllib3.exceptions.HTTPError as error:
                raise Unavailable(
                    f"the KFP server at {self.host} does not answer: {error}; is the host right?"
                ) from None

    def _said(self, status: int | None, body: Any, reason: Any) -> FleetMLError:
        message = _message(body) or str(reason)
        if status in (401, 403):
            return ConfigurationError(
                f"the KFP server at {self.host} refused the token ({status}): {message}; renew it"
            )
        if status == 404:
            return ConfigurationError(f"{self.host} is no KFP v2 API server (404): {message}; mend the host")
        if status is None or status >= 500:
            return Unavailable(f"the KFP server at {self.host} failed ({status}): {message}; try again later")
        return FleetMLError(f"the KFP server at {self.host} refused the request ({status}): {message}")


def _greet(host: str, token: str) -> None:
    """Ask for the server's health once: the client itself tries five times and prints each traceback."""
    import kfp_server_api

    configuration = kfp_server_api.Configuration(host=host)
    if token:
        configuration.api_key["authorization"] = token
        configuration.api_key_prefix["authorization"] = "Bearer"
    kfp_server_api.HealthzServiceApi(kfp_server_api.ApiClient(configuration)).healthz_service_get_healthz()


def _named(name: str) -> str:
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


def _message(body: Any) -> str:
    try:
        document = json.loads(body)
        return str(document.get("error_message") or document.get("message") or "")
    except (TypeError, ValueError, AttributeError):
        return ""
