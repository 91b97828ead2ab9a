"""Reading an IR document: YAML (or JSON) text to plain values, once per content."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fleetml import atomic, sha256
from fleetml.errors import InvalidPipeline
from fleetml.pipeline import yaml_text


def read(path: Path, cache: Path | None = None) -> dict[str, Any]:
    """Return the document at `path`; `cache` keeps its JSON form under the file's content hash.

    The second document that kfp-kubernetes writes becomes the entry ``platforms`` (see `split`). Raises InvalidPipeline
    for a missing, empty or malformed file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidPipeline(f"the IR cannot be read: {error.strerror}; compile it with `fleetml compile`") from None
    return parsed(content, cache, _parse)


def parsed(content: bytes, cache: Path | None, parse: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
    """Return what `parse` makes of a YAML document, from the copy in `cache` where there is one.

    Loading a YAML parser takes longer than all else that a run of cache hits does. Raises what `parse` raises.
    """
    kept = cache / f"{sha256.hexdigest(content)}.json" if cache else None
    if kept and kept.exists():
        try:
            return json.loads(atomic.read_bytes(kept))
        except (OSError, ValueError):
            pass  # a copy that is damaged, or was just removed, is written again
    document = parse(content)
    if kept:
        _keep(kept, document)
    return document


def _parse(content: bytes) -> dict[str, Any]:
    if not content.strip():
        raise InvalidPipeline("the IR is empty; compile it again with `fleetml compile`")
    one_json = content.lstrip()[:1] == b"{" and b"\n---" not in content
    try:
        documents = (
            [json.loads(content, object_pairs_hook=_once)] if one_json else yaml_text.documents(content, _check_mapping)
        )
    except RecursionError:
        raise InvalidPipeline("the IR is nested deeper than any pipeline; compile it again") from None
    except yaml_text.Excess as error:
        raise InvalidPipeline(f"the IR is too large: {error}") from None
    except ValueError as error:
        raise InvalidPipeline(
            f"the IR is neither YAML nor JSON: {error}; compile it again with `fleetml compile`"
        ) from None
    if not documents or not isinstance(documents[0], dict):
        raise InvalidPipeline(
            "the IR must be one mapping (a KFP PipelineSpec); compile it again with `fleetml compile`"
        )
    if len(documents) > 1 and (
        len(documents) > 2 or not isinstance(documents[1], dict) or [*documents[1]] != ["platforms"]
    ):
        raise InvalidPipeline(
            "after the IR one document with `platforms` may follow (kfp-kubernetes), nothing else; compile it again"
        )
    whole = {**documents[0], **documents[1]} if len(documents) > 1 else documents[0]
    _require_json(whole)
    return whole


def split(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the documents that `read` made one of: the PipelineSpec and, where there is one, the PlatformSpec."""
    alone = {key: value for key, value in spec.items() if key != "platforms"}
    return [alone, {"platforms": spec["platforms"]}] if spec.get("platforms") else [alone]


def _require_json(document: dict[str, Any]) -> None:
    """YAML knows dates, NaN and other keys than texts, JSON knows halves of characters; the IR knows none of them."""
    try:
        json.dumps(document, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise InvalidPipeline("the IR is nested deeper than any pipeline; compile it again") from None
    except (TypeError, ValueError) as error:
        raise InvalidPipeline(f"the IR must hold JSON values only: {error}; quote the value") from None


def _once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a mapping. Raises InvalidPipeline for a name that stands in it twice, where parsers drop the first."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidPipeline(f"a mapping of the IR has each name once, one has {twice!r} twice; rename one of them")
    return made


def _check_mapping(pairs: Any) -> None:
    _once([(key.value, value) for key, value in pairs if isinstance(key.value, str)])


def _keep(kept: Path, document: dict[str, Any]) -> None:
    """Write the JSON form aside and rename it; a cache that cannot be written is no reason to stop."""
    aside = kept.with_name(f"{kept.name}.{os.getpid()}.tmp")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(document))
        aside.replace(kept)
    except (OSError, TypeError):  # no room; or a date, which has no JSON form
        with contextlib.suppress(OSError):
            aside.unlink()
