"""The compiler's own numbering must not reach the committed IR."""

from fleetml.pipeline import plan_of
from fleetml.pipeline.canonical import canonical


def renamed(document, new):
    """The same IR with other names of components and executors, as another compiler run may give them."""
    names = {old: new(index) for index, old in enumerate(document["components"])}
    labels = {old: f"exec-{index}" for index, old in enumerate(reversed(document["deploymentSpec"]["executors"]))}

    def inside(component):
        component = dict(component)
        if "executorLabel" in component:
            component["executorLabel"] = labels[component["executorLabel"]]
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["componentRef"]["name"] = names[task["componentRef"]["name"]]
        return component

    executors = document["deploymentSpec"]["executors"]
    return {
        **document,
        "root": inside(document["root"]),
        "components": {names[old]: inside(c) for old, c in document["components"].items()},
        "deploymentSpec": {"executors": {labels[old]: executor for old, executor in executors.items()}},
    }


def test_other_names_give_the_same_ir(ir):
    for name in ("nested", "branches", "types"):
        committed = ir(name)
        assert canonical(committed, {}) == (committed, {})
        assert canonical(renamed(ir(name), lambda index: f"comp-{99 - index}"), {})[0] == committed


def test_equal_components_become_one_and_unused_ones_go(ir):
    document = ir("cleanup")
    document["components"]["comp-copy"] = dict(document["components"]["comp-echo"], executorLabel="exec-copy")
    document["deploymentSpec"]["executors"]["exec-copy"] = document["deploymentSpec"]["executors"]["exec-echo"]
    document["components"]["comp-unused"] = document["components"]["comp-copy"]
    document["root"]["dag"]["tasks"]["echo-2"]["componentRef"]["name"] = "comp-copy"
    made, _ = canonical(document, {})
    assert made == ir("cleanup")
    assert list(plan_of(made).steps) == list(plan_of(document).steps)


def test_kubernetes_settings_keep_to_their_executors_and_keep_them_apart(ir):
    document = ir("cleanup")
    document["components"]["comp-copy"] = dict(document["components"]["comp-echo"], executorLabel="exec-copy")
    document["deploymentSpec"]["executors"]["exec-copy"] = document["deploymentSpec"]["executors"]["exec-echo"]
    document["root"]["dag"]["tasks"]["echo-2"]["componentRef"]["name"] = "comp-copy"
    settings = {"nodeSelector": {"labels": {"gpu": "yes"}}}
    spec, platforms = canonical(document, {"kubernetes": {"deploymentSpec": {"executors": {"exec-copy": settings}}}})
    assert spec["components"].keys() == {"comp-fail", "comp-echo", "comp-echo-2"}
    assert platforms == {"kubernetes": {"deploymentSpec": {"executors": {"exec-echo-2": settings}}}}
