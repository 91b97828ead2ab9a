"""Workflows: the simple JSON or YAML form of a pipeline, compiled to the same IR as everything else.

spec        the document and its grammar: every fault is refused with its place
types       the task types, and the component each is
flow        order of the tasks, and where a task's dataset and model come from
parameters  values, global parameters, references to them
emit        the IR
source      files: what is a workflow, where its IR lies
job         training jobs as workflows
beforehand  what steps would refuse, refused before the first one
schema      the published JSON Schema
"""
