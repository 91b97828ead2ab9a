"""Whether a model may take the place of one whose callers send raw tensors: it must take the same, about the same VM or fleet."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from components.evaluate.candidates import CHAMPION
from fleetml.component import Artifact
from fleetml.learn import scorer
from fleetml.learn.graph import InvalidGraph

log = logging.getLogger(__name__)
Judged = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """What callers have to know: inputs (name, type, sizes but the first), the metrics in their order, the VM, "": the fleet."""

    inputs: tuple[tuple[str, int, tuple[int | str, ...]], ...]
    columns: tuple[str, ...]
    vm: str

    @classmethod
    def of(cls, graph: bytes, metadata: Mapping[str, Any]) -> Asked | None:
        """Return it of a graph and its artifact's metadata; None for what is no graph."""
        from google.protobuf.message import DecodeError

        try:
            model = onnx.load_from_string(graph)
        except DecodeError:
            return None
        tensors = ((given.name, given.type.tensor_type) for given in model.graph.input)
        inputs = tuple((name, kind.elem_type, _sizes(kind)) for name, kind in tensors)
        try:
            about = scorer.describe({prop.key: prop.value for prop in model.metadata_props}).about
        except InvalidGraph:  # of another kind
            about = {}
        return cls(inputs, tuple(about.get("columns", ())), str(metadata.get("vm", "")))

    def __str__(self) -> str:
        taken = ", ".join(f"{name} [{', '.join(map(str, ('batch', *sizes)))}]" for name, _, sizes in self.inputs)
        return f"{taken} ({', '.join(self.columns) or 'unnamed'}) of {self.vm or 'the fleet'}"


def alike(judged: Judged, graphs: Mapping[str, bytes], test: Artifact, champion: Artifact) -> tuple[Judged, str]:
    """Return who may take the champion's place, beside it; all of them, and why nobody may, where nobody may.

    A champion that is no graph is in nobody's way. The candidates are for the VM that `test` is of.
    """
    before = Asked.of(Path(champion.path).read_bytes(), champion.metadata)
    now = {name: Asked.of(graphs[name], test.metadata) for name in judged if name != CHAMPION}
    fit = {name for name, asked in now.items() if before in (None, asked)}
    if fit:
        for name in now.keys() - fit:
            log.warning("%s is asked otherwise than the champion, %s, and is left out: %s", name, before, now[name])
        return {name: entry for name, entry in judged.items() if name in (*fit, CHAMPION)}, ""
    told = "; ".join(f"{name} {asked}" for name, asked in now.items())
    return judged, (
        f"it is asked with {before}, and callers would have to ask otherwise: {told}; give these a model_name of their own, or "
        "other_inputs=true if that is wanted"
    )


def _sizes(tensor: onnx.TypeProto.Tensor) -> tuple[int | str, ...]:
    return tuple(size.dim_value or size.dim_param for size in tensor.shape.dim)[1:]
