"""What steps ask of a cluster, with names from every scope."""

from kfp import dsl, kubernetes


@dsl.container_component
def say(text: str):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", "pass"], args=[text])


@dsl.container_component
def name(out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="fleetml/ml", command=["python", "-c", "pass"], args=[out])


@dsl.pipeline
def inner(secret: str):
    kubernetes.use_secret_as_env(say(text="inner"), secret_name=secret, secret_key_to_env={"key": "A"})


@dsl.pipeline
def scopes(secret: str = "mine", go: bool = True):
    made = name()
    with dsl.If(go == True):  # noqa: E712
        chosen = say(text="condition")
        kubernetes.use_secret_as_env(chosen, secret_name=secret, secret_key_to_env={"key": "A"})
        kubernetes.use_secret_as_env(chosen, secret_name=made.output, secret_key_to_env={"key": "B"})
        kubernetes.set_timeout(chosen, 20)
    with dsl.ParallelFor(["p", "q"]) as item:
        each = say(text="loop")
        kubernetes.use_secret_as_env(each, secret_name=item, secret_key_to_env={"key": "A"})
        with dsl.If(go == True):  # noqa: E712
            kubernetes.mount_pvc(say(text="deep"), pvc_name=made.output, mount_path="/data")
    inner(secret=made.output)
    used = kubernetes.mount_pvc(say(text="claim"), pvc_name=made.output, mount_path="/data")
    kubernetes.add_node_selector(used, "disk", "ssd")
    kubernetes.add_toleration(used, key="gpu", operator="Exists", toleration_seconds=10)
