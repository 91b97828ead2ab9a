"""A local server that holds every request to the published KFP v2beta1 contract.

There is no way to run KFP's own API server without Kubernetes, and no cluster can be had where these
tests run; this stands in for it. Bodies are checked against the generated models of kfp-server-api
(unknown fields and wrong types are refused), packages by a strict parse into the PipelineSpec protobuf,
and a run's parameters by what the server checks: presence, type, extras, literals.
"""

import email.parser
import email.policy
import http.server
import json
import re
import threading
import urllib.parse

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

PREFIX = "/apis/v2beta1"
_LIST = {"page_token", "page_size", "sort_by", "filter", "namespace"}


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Contract:
    """The server's state, what it was asked, and its address. Use as a context manager."""

    def __init__(self, token=""):
        self.token = token
        self.requests = []
        self.pipelines, self.versions, self.experiments, self.runs, self.recurring_runs = {}, {}, {}, {}, {}
        contract = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                contract.requests.append((self.command, self.path))
                try:
                    status, value = 200, contract.answer(self.command, self.path, self.headers, body)
                except Refused as refused:
                    status, value = refused.status, {"code": 3, "message": str(refused), "details": []}
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method, target, headers, body):
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Request header error: there is no valid bearer token")
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
        for route, allowed, action in self.routes():
            wanted, _, pattern = route.partition(" ")
            match = re.fullmatch(PREFIX + pattern, url.path)
            if match and wanted == method:
                if unknown := set(query) - allowed:
                    raise Refused(400, f"unknown query parameters {sorted(unknown)}")
                return action(query, headers, body, **match.groupdict())
        raise Refused(404, f"no such path: {method} {url.path}")

    def routes(self):
        identified = "(?P<key>[^/:]+)"
        return [
            ("GET /healthz", set(), lambda *_: {"multi_user": False}),
            ("GET /pipelines", _LIST, lambda q, h, b: listed("pipelines", self.pipelines.values(), q)),
            ("POST /pipelines", set(), self.create_pipeline),
            ("POST /pipelines/upload_version", {"name", "display_name", "pipelineid", "description"}, self.upload),
            (f"GET /pipelines/{identified}/versions", _LIST, self.list_versions),
            ("GET /experiments", _LIST, lambda q, h, b: listed("experiments", self.experiments.values(), q)),
            ("POST /experiments", set(), self.create_experiment),
            ("POST /runs", set(), self.create_run),
            ("GET /recurringruns", {*_LIST, "experiment_id"}, self.list_recurring),
            ("POST /recurringruns", set(), self.create_recurring),
            (
                f"DELETE /recurringruns/{identified}",
                set(),
                lambda q, h, b, key: known(self.recurring_runs, key, pop=True) and {},
            ),
        ]

    def create_pipeline(self, query, headers, body):
        made = modelled(body, "V2beta1Pipeline")
        require(made.get("display_name") or made.get("name"), "a pipeline needs a name")
        return stored(self.pipelines, "pipeline_id", made)

    def list_versions(self, query, headers, body, key):
        known(self.pipelines, key)
        return listed("pipeline_versions", [v for v in self.versions.values() if v["pipeline_id"] == key], query)

    def upload(self, query, headers, body):
        known(self.pipelines, query.get("pipelineid", ""))
        name = query.get("name") or query.get("display_name")
        require(name, "a version needs a name")
        require(all(v["display_name"] != name for v in self.versions.values()), f"version {name} already exists", 409)
        spec = package(uploaded(headers, body))
        made = {"pipeline_id": query["pipelineid"], "display_name": name, "name": name, "pipeline_spec": spec}
        return stored(self.versions, "pipeline_version_id", made)

    def create_experiment(self, query, headers, body):
        made = modelled(body, "V2beta1Experiment")
        require(made.get("display_name"), "an experiment needs a display_name")
        return stored(self.experiments, "experiment_id", made)

    def create_run(self, query, headers, body):
        made = modelled(body, "V2beta1Run")
        self.startable(made, macros=False)
        return stored(self.runs, "run_id", made)

    def list_recurring(self, query, headers, body):
        runs = [r for r in self.recurring_runs.values() if query.get("experiment_id") in (None, r["experiment_id"])]
        return listed("recurringRuns", runs, query)

    def create_recurring(self, query, headers, body):
        made = modelled(body, "V2beta1RecurringRun")
        require(1 <= int(made.get("max_concurrency", 1)) <= 10, "max_concurrency must be 1 to 10")
        require(made.get("mode") in ("ENABLE", "DISABLE"), "mode must be ENABLE or DISABLE")
        cron = made.get("trigger", {}).get("cron_schedule", {}).get("cron", "")
        require(re.fullmatch(r"(\S+ ){5}\S+", cron), f"a cron has six fields (seconds first), got {cron!r}")
        self.startable(made, macros=True)
        made["max_concurrency"] = str(made["max_concurrency"])
        return stored(self.recurring_runs, "recurring_run_id", made)

    def startable(self, made, macros):
        """Check what a run and a recurring run share."""
        require(made.get("display_name"), "a run needs a display_name")
        known(self.experiments, made.get("experiment_id", ""))
        reference = made.get("pipeline_version_reference", {})
        require(
            bool(reference) != bool(made.get("pipeline_spec")), "give either a pipeline_spec or a version reference"
        )
        if reference:
            version = known(self.versions, reference.get("pipeline_version_id", ""))
            require(version["pipeline_id"] == reference.get("pipeline_id"), "the version belongs to another pipeline")
            spec = version["pipeline_spec"].get("pipeline_spec", version["pipeline_spec"])
        else:
            spec = made["pipeline_spec"].get("pipeline_spec", made["pipeline_spec"])
            checked_spec(spec)
        given = made.get("runtime_config", {}).get("parameters", {})
        check_parameters(spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {}), given)
        text = json.dumps(given)
        require(macros or "[[" not in text.replace("[[]", ""), "macros are for recurring runs")


def require(holds, message, status=400):
    if not holds:
        raise Refused(status, message)


def known(entries, key, pop=False):
    require(key in entries, f"{key!r} not found", 404)
    return entries.pop(key) if pop else entries[key]


def stored(entries, name, made):
    key = f"{name.removesuffix('_id')}-{len(entries) + 1}-{id(made):x}"
    entries[key] = {**made, name: key}
    return entries[key]


def listed(name, entries, query):
    predicates = json.loads(query["filter"])["predicates"] if query.get("filter") else []
    for predicate in predicates:
        require(set(predicate) == {"operation", "key", "stringValue"}, f"unknown predicate {predicate}")
        require(predicate["operation"] in ("EQUALS", 1), "only EQUALS is known here")
        entries = [entry for entry in entries if entry.get(predicate["key"]) == predicate["stringValue"]]
    entries = list(entries)
    return {name: entries, "total_size": len(entries)} if entries else {}


def modelled(body, model):
    """Return the JSON body if it is the generated model of that name; else refuse it."""
    try:
        value = json.loads(body)
    except ValueError:
        raise Refused(400, "the body is not JSON") from None
    check_model(value, model, model)
    return value


def check_model(value, kind, place):
    scalars = {"str": str, "bool": bool, "int": int, "float": (int, float), "datetime": str, "object": object}
    if place.endswith(".max_concurrency"):  # the client sends a number where the swagger says a string
        require(re.fullmatch(r"\d+", str(value)) and not isinstance(value, bool), f"{place} must be an integer")
    elif kind in scalars:
        require(isinstance(value, scalars[kind]), f"{place} must be {kind}, got {value!r}")
    elif found := re.fullmatch(r"dict\(str, (.+)\)", kind):
        require(isinstance(value, dict), f"{place} must be a mapping")
        for key, inner in value.items():
            check_model(inner, found[1], f"{place}.{key}")
    elif found := re.fullmatch(r"list\[(.+)\]", kind):
        require(isinstance(value, list), f"{place} must be a list")
        for inner in value:
            check_model(inner, found[1], place)
    else:
        model = getattr(kfp_server_api.models, kind)
        if not model.openapi_types:  # an enumeration
            require(value in model.allowable_values, f"{place} must be one of {model.allowable_values}")
            return
        require(isinstance(value, dict), f"{place} must be a message")
        names = {alias: name for name, alias in model.attribute_map.items()}
        for key, inner in value.items():
            require(key in names, f"{place} has no field {key!r}")
            check_model(inner, model.openapi_types[names[key]], f"{place}.{key}")


def uploaded(headers, body):
    """Return the content of the one file of a multipart upload."""
    require(headers.get("Content-Type", "").startswith("multipart/form-data"), "an upload is multipart/form-data")
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    parts = [
        part for part in message.iter_parts() if part.get_param("name", header="content-disposition") == "uploadfile"
    ]
    require(len(parts) == 1, "an upload holds one part 'uploadfile'")
    require(str(parts[0].get_filename()).endswith((".yaml", ".yml", ".zip", ".tar.gz")), "unknown kind of package")
    return parts[0].get_payload(decode=True)


def package(content):
    documents = list(yaml.safe_load_all(content))
    require(1 <= len(documents) <= 2, "a package holds a pipeline spec and perhaps a platform spec")
    checked_spec(documents[0])
    for other in documents[1:]:
        parsed(other, pipeline_spec_pb2.PlatformSpec())
    if len(documents) == 1:
        return documents[0]
    return {"pipeline_spec": documents[0], "platform_spec": documents[1]}  # as the server tells a version of two


def checked_spec(spec):
    message = parsed(spec, pipeline_spec_pb2.PipelineSpec())
    require(message.schema_version == "2.1.0", f"Unexpected schemaVersion {message.schema_version!r}")
    require(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", message.pipeline_info.name), "invalid pipeline name")
    require(message.root.WhichOneof("implementation") == "dag", "the root must be a DAG")
    deployment = json_format.MessageToDict(message.deployment_spec)
    parsed(deployment, pipeline_spec_pb2.PipelineDeploymentConfig())


def parsed(value, message):
    try:
        return json_format.ParseDict(value, message, ignore_unknown_fields=False)
    except json_format.ParseError as error:
        raise Refused(400, f"invalid spec: {error}") from None


def check_parameters(declared, given):
    if unknown := sorted(set(given) - set(declared)):
        raise Refused(400, f"parameter(s) provided are not required by pipeline: {unknown}")
    for name, spec in declared.items():
        if name not in given:
            require("defaultValue" in spec or spec.get("isOptional"), f"parameter {name} is required but not provided")
            continue
        value, kind = given[name], spec["parameterType"]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {
            "STRING": isinstance(value, str),
            "BOOLEAN": isinstance(value, bool),
            "NUMBER_DOUBLE": number,
            "NUMBER_INTEGER": number and float(value).is_integer(),
            "LIST": isinstance(value, list),
            "STRUCT": isinstance(value, dict),
        }[kind]
        require(fits, f"input parameter {name} requires type {kind}, got {value!r}")
        require(not spec.get("literals") or value in spec["literals"], f"{name} must be one of {spec.get('literals')}")
