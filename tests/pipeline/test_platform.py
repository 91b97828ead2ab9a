"""What steps ask of a cluster: read from the second document, followed to where it comes from, refused where it is wrong."""

import json
from pathlib import Path

import pytest
import yaml

from fleetml.errors import InvalidPipeline, UnsupportedConstruct
from fleetml.pipeline import document, load, plan_of
from fleetml.pipeline.model import Constant, PipelineInput, StepOutput

EVERY = {  # each feature of kubernetes_executor_config.proto, with what a step's settings make of it
    "secretAsVolume": [
        {"secretName": "s", "secretNameParameter": {"runtimeValue": {"constant": "s"}}, "mountPath": "/s"}
    ],
    "secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "V"}], "optional": True}],
    "configMapAsVolume": [{"configMapName": "c", "mountPath": "/c", "optional": False}],
    "configMapAsEnv": [{"configMapName": "c", "keyToEnv": [{"configMapKey": "k", "envVar": "V"}]}],
    "pvcMount": [{"constant": "claim", "mountPath": "/data", "subPath": "a"}],
    "nodeSelector": {"labels": {"disk": "ssd"}},
    "podMetadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    "imagePullSecret": [{"secretName": "s"}],
    "imagePullPolicy": "Always",
    "activeDeadlineSeconds": "20",
    "fieldPathAsEnv": [{"name": "POD", "fieldPath": "metadata.name"}],
    "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": "10"}],
    "genericEphemeralVolume": [
        {
            "volumeName": "v",
            "mountPath": "/v",
            "accessModes": ["ReadWriteOnce"],
            "size": "1Gi",
            "defaultStorageClass": True,
            "metadata": {"labels": {"a": "b"}},
        }
    ],
    "nodeAffinity": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}], "weight": 50.0}],
    "podAffinity": [{"matchPodLabels": {"app": "x"}, "topologyKey": "zone", "anti": True, "weight": 1.0}],
    "enabledSharedMemory": {"volumeName": "shm", "size": "1Gi"},
    "emptyDirMounts": [{"volumeName": "e", "mountPath": "/e", "medium": "Memory", "sizeLimit": "1Gi"}],
    "securityContext": {"runAsUser": "1000", "runAsGroup": "0", "runAsNonRoot": True},
    "initContainers": [
        {
            "name": "first",
            "image": "busybox@sha256:" + "0" * 64,
            "command": ["sh"],
            "args": ["-c", "true"],
            "env": [{"name": "A", "value": "b"}],
            "volumeMounts": [{"volumeName": "e", "mountPath": "/e"}],
            "restartPolicy": "Always",
            "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        }
    ],
}


@pytest.fixture
def asking(ir):
    """Return the plan of a two-step pipeline (add, then save) whose `step` asks for `settings`."""

    def make(settings, step="save", inputs=(), **pipeline):
        spec = ir("strangers")
        declared = spec["root"]["inputDefinitions"]["parameters"]
        declared.update({name: {"parameterType": kind, "isOptional": True} for name, kind in inputs})
        executors = {f"exec-{step}": settings}
        spec["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": executors}, **pipeline}}
        return plan_of(spec)

    return make


def settled(plan, bound=(), outcomes=(), step="save"):
    done = {"add": {"state": "succeeded", "parameters": {"Output": 3}}, **dict(outcomes)}
    return plan.resolve(step, {"a": 1, **dict(bound)}, done, {}).platform


def test_every_feature_is_read_with_its_whole_numbers_as_integers(asking):
    found = settled(asking(EVERY))
    assert set(found) == set(EVERY)
    assert found["secretAsVolume"] == [{"secretName": "s", "mountPath": "/s"}]
    assert found["pvcMount"] == [{"pvcName": "claim", "mountPath": "/data", "subPath": "a"}]
    assert found["activeDeadlineSeconds"] == 20
    assert found["tolerations"][0]["tolerationSeconds"] == 10
    assert found["securityContext"] == {"runAsUser": 1000, "runAsGroup": 0, "runAsNonRoot": True}
    assert json.dumps(found["nodeAffinity"][0]["weight"]) == "50"
    for feature in ("initContainers", "genericEphemeralVolume", "podMetadata", "emptyDirMounts", "imagePullPolicy"):
        assert found[feature] == EVERY[feature]


def test_a_step_that_asks_for_nothing_has_nothing(asking):
    assert asking(EVERY).steps["add"].platform == {}
    assert settled(asking(EVERY), step="add") == {}


def test_names_come_from_constants_inputs_and_steps(asking):
    secret = {"keyToEnv": [{"secretKey": "k", "envVar": "V"}]}
    plan = asking(
        {
            "secretAsEnv": [
                {**secret, "secretName": "fixed"},
                {**secret, "secretNameParameter": {"componentInputParameter": "secret"}},
            ]
        },
        inputs=[("secret", "STRING")],
    )
    first, second = plan.steps["save"].platform["secretAsEnv"]
    assert (first["secretName"], second["secretName"]) == (Constant("fixed"), PipelineInput("secret"))
    assert [entry["secretName"] for entry in settled(plan, {"secret": "given"})["secretAsEnv"]] == ["fixed", "given"]
    assert [entry["secretName"] for entry in settled(plan)["secretAsEnv"]] == ["fixed"]  # left out, as a cluster does


def test_a_name_from_another_step_makes_that_one_come_before(ir):
    spec = ir("strangers")
    spec["root"]["dag"]["tasks"]["name"] = {"componentRef": {"name": "comp-name"}, "taskInfo": {"name": "name"}}
    spec["components"]["comp-name"] = {
        "executorLabel": "exec-name",
        "outputDefinitions": {"parameters": {"out": {"parameterType": "STRING"}}},
    }
    spec["deploymentSpec"]["executors"]["exec-name"] = {"container": {"image": "i", "command": ["true"]}}
    claim = {"pvcNameParameter": {"taskOutputParameter": {"producerTask": "name", "outputParameterKey": "out"}}}
    settings = {"exec-add": {"pvcMount": [{**claim, "mountPath": "/data"}]}}
    spec["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": settings}}}
    plan = plan_of(spec)
    assert plan.steps["add"].platform["pvcMount"][0]["pvcName"] == StepOutput("name", "out")
    assert plan.steps["add"].upstream == ("name",)
    assert "name" in plan.steps["add"].reads
    outcome = {"name": {"state": "succeeded", "parameters": {"out": "claim-1"}}}
    assert settled(plan, outcomes=outcome, step="add")["pvcMount"] == [{"mountPath": "/data", "pvcName": "claim-1"}]


def test_settings_may_come_whole_from_an_input_and_win_over_what_is_written(asking):
    plan = asking(
        {
            "nodeSelector": {"labels": {"x": "y"}, "nodeSelectorJson": {"componentInputParameter": "selector"}},
            "nodeAffinity": [{"nodeAffinityJson": {"runtimeValue": {"constant": {"weight": 100.0}}}}],
            "tolerations": [{"key": "k", "tolerationJson": {"componentInputParameter": "tolerations"}}],
        },
        inputs=[("selector", "STRUCT"), ("tolerations", "LIST")],
    )
    found = settled(plan, {"selector": {"disk": "ssd"}, "tolerations": [{"key": "gpu"}]})
    assert found["nodeSelector"] == {"labels": {"disk": "ssd"}}
    assert found["tolerations"] == [{"tolerationJson": [{"key": "gpu"}]}]
    assert json.dumps(found["nodeAffinity"]) == '[{"nodeAffinityJson": {"weight": 100}}]'
    assert set(settled(plan)) == {"nodeAffinity"}


@pytest.mark.parametrize("old", [{"componentInputParameter": "claim"}, {"constant": "c"}])
def test_claims_are_read_as_older_compilers_wrote_them(asking, old):
    plan = asking({"pvcMount": [{**old, "mountPath": "/data"}]}, inputs=[("claim", "STRING")])
    assert settled(plan, {"claim": "c"})["pvcMount"] == [{"mountPath": "/data", "pvcName": "c"}]


def test_a_loop_gives_each_iteration_its_own(ir):
    spec = ir("loop")
    item = {"componentInputParameter": "pipelinechannel--loop-item-param-1"}
    settings = {"exec-echo": {"imagePullSecret": [{"secretNameParameter": item}]}}
    spec["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": settings}}}
    for unused in ("for-loop-4", "total-2", "many"):
        del spec["root"]["dag"]["tasks"][unused]
    plan = plan_of(spec)
    found = [plan.resolve(f"for-loop-2/{n}/echo", {}, {}, {}).platform for n in (0, 1)]
    assert [each["imagePullSecret"][0]["secretName"] for each in found] == ["x", "y"]


def test_claims_that_a_cluster_makes_and_removes_are_features_of_steps_that_are_never_cached(ir):
    spec = ir("strangers")
    spec["deploymentSpec"]["executors"]["exec-add"] = {"container": {"image": "argostub/createpvc"}}
    step = plan_of(spec).steps["add"]
    assert step.platform == {"createPvc": {}}
    assert step.container.args == ("{{$}}",)
    assert not step.cacheable


def test_the_plan_s_digest_covers_the_settings(asking):
    first, second = ({"activeDeadlineSeconds": seconds} for seconds in (1, 2))
    assert asking(first).digest != asking(second).digest
    assert asking(first).digest == asking(first).digest


def test_both_documents_are_one_after_reading_and_two_again_after_splitting(ir, tmp_path):
    spec = ir("strangers")
    platforms = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-add": {"nodeSelector": {}}}}}}}
    path = tmp_path / "ir.yaml"
    path.write_text(yaml.safe_dump_all([spec, platforms]))
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        found = document.read(path, cache)
        assert document.split(found) == [spec, platforms]
    assert document.split(spec) == [spec]
    path.write_text(json.dumps(found))
    assert load(path).steps["add"].platform == {"nodeSelector": {}}


def test_settings_of_the_whole_pipeline_that_only_a_cluster_keeps_are_taken(asking):
    workspace = {"size": "1Gi", "kubernetes": {"pvcSpecPatch": {"storageClassName": "fast"}}}
    plan = asking({}, pipelineConfig={"resourceTtlOnCompletion": 60, "workspace": workspace})
    assert set(plan.steps) == {"add", "save"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"secretAsEnvs": []}, "exec-save: the key 'secretAsEnvs' is unknown.*did you mean 'secretAsEnv'"),
        ({"secretAsEnv": {}}, r"exec-save\.secretAsEnv must be a list"),
        ({"secretAsEnv": [{"keyToEnv": []}]}, r"exec-save\.secretAsEnv\[0\] needs a secretName"),
        ({"pvcMount": [{"mountPath": "/x"}]}, r"pvcMount\[0\] needs a pvcName"),
        ({"pvcMount": [{"constant": "c"}]}, r"pvcMount\[0\] needs mountPath"),
        (
            {"secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k"}]}]},
            r"secretAsEnv\[0\]\.keyToEnv\[0\] needs envVar",
        ),
        ({"initContainers": [{"name": "first"}]}, r"initContainers\[0\] needs image"),
        ({"pvcMount": [{"componentInputParameter": "nope", "mountPath": "/x"}]}, "no input parameter.*'nope'"),
        (
            {"pvcMount": [{"taskOutputParameter": {"producerTask": "ad"}, "mountPath": "/x"}]},
            "no task 'ad'; did you mean 'add'",
        ),
        ({"pvcMount": [{"componentInputParameter": "a", "mountPath": "/x"}]}, "must be STRING, got NUMBER_INTEGER"),
        ({"secretAsEnv": [{"secretNameParameter": {"runtimeValue": {"constant": 5}}}]}, "secretName must be .*text.*5"),
        ({"nodeSelector": {"nodeSelectorJson": {"runtimeValue": {"constant": [1]}}}}, "labels must be"),
        ({"activeDeadlineSeconds": "soon"}, "activeDeadlineSeconds must be a whole number >= 0, got 'soon'"),
        ({"activeDeadlineSeconds": -1}, "activeDeadlineSeconds must be a whole number >= 0, got -1"),
        ({"securityContext": {"runAsUser": 1.5}}, r"securityContext\.runAsUser must be a whole number"),
        ({"nodeSelector": {"labels": {"a": 1}}}, r"nodeSelector\.labels\.a must be a text"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(asking, settings, message):
    with pytest.raises(InvalidPipeline, match=message):
        asking(settings)


def test_an_empty_name_is_refused_when_the_run_gives_it(asking):
    plan = asking(
        {"imagePullSecret": [{"secretNameParameter": {"componentInputParameter": "s"}}]}, inputs=[("s", "STRING")]
    )
    with pytest.raises(InvalidPipeline, match=r"step 'save': imagePullSecret\.secretName must be a name"):
        settled(plan, {"s": ""})


def test_settings_for_no_executor_are_refused(asking):
    with pytest.raises(InvalidPipeline, match="there is no executor 'exec-sav'; did you mean 'exec-save'"):
        asking({}, step="sav")


@pytest.mark.parametrize(
    ("platforms", "message"),
    [
        ({"google_cloud": {}}, "platforms: the key 'google_cloud' is unknown"),
        ({"kubernetes": {"config": {}}}, "the settings of another platform"),
        ({"kubernetes": {"pipelineConfig": {"activeDeadlineSeconds": 5}}}, "a time limit of a whole run"),
        ({"kubernetes": {"pipelineConfig": {"mutexName": "m"}}}, "the key 'mutexName' is unknown"),
    ],
)
def test_what_is_not_run_is_refused_by_name(ir, platforms, message):
    with pytest.raises(UnsupportedConstruct, match=message):
        plan_of({**ir("strangers"), "platforms": platforms})


@pytest.mark.parametrize("more", ["platforms: {}\n---\na: 1\n", "- platforms\n", "platforms: {}\nother: 1\n"])
def test_only_one_document_of_settings_may_follow(ir, tmp_path, more):
    path = Path(tmp_path / "ir.yaml")
    path.write_text(f"{yaml.safe_dump(ir('strangers'))}---\n{more}")
    with pytest.raises(InvalidPipeline, match="one document with `platforms` may follow"):
        load(path)


class TestAsCompiled:
    """tests/pipelines/cluster/scopes.py, as the compiler of kfp-kubernetes wrote it."""

    SOURCE = Path(__file__).parents[1] / "pipelines" / "cluster" / "scopes.py"

    def plan(self):
        return load(self.SOURCE.with_suffix(".yaml"))

    def secrets(self, step):
        return [entry["secretName"] for entry in self.plan().steps[step].platform["secretAsEnv"]]

    def test_names_are_followed_out_of_conditions_loops_and_nested_pipelines(self):
        made = StepOutput("name", "out")
        assert self.secrets("condition-1/say") == [PipelineInput("secret"), made]
        assert [self.secrets(f"for-loop-3/{n}/say-2") for n in (0, 1)] == [[Constant("p")], [Constant("q")]]
        assert self.secrets("inner/say") == [made]
        deep = self.plan().steps["for-loop-3/1/condition-4/say-3"]
        assert deep.platform == {"pvcMount": [{"mountPath": "/data", "pvcName": made}]}

    def test_several_features_of_one_step(self):
        used = self.plan().steps["say-4"]
        assert used.platform["pvcMount"] == [{"mountPath": "/data", "pvcName": StepOutput("name", "out")}]
        assert used.platform["nodeSelector"] == {"labels": {"disk": "ssd"}}
        assert used.platform["tolerations"] == [{"key": "gpu", "operator": "Exists", "tolerationSeconds": 10}]
        assert used.upstream == ("name",)

    def test_compiling_again_leaves_no_difference(self):
        pytest.importorskip("kfp.kubernetes")
        from fleetml.compiler import compile_pipeline

        assert compile_pipeline(self.SOURCE, check=True) == (self.SOURCE.with_suffix(".yaml"), False)
