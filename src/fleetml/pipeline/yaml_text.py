"""Reading YAML that anybody may have written: what it grows to once its aliases are followed is known before it does.

A few lines of aliases of aliases mean gigabytes to whoever writes them out, and libyaml's own recursion ends the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LARGEST = 1 << 28  # characters, with _EACH for every value; a graph of 10,000 steps has a tenth of it
DEEPEST = 500  # mappings and lists in each other
_EACH = 64


class Excess(ValueError):
    """A text that is nested too deep, or grows too large."""


def documents(content: bytes | str, check_mapping: Callable[[Any], None] = lambda pairs: None) -> list[Any]:
    """Return the documents of a YAML text that are not empty; `check_mapping` is given the nodes of each mapping.

    Raises ValueError for what is no YAML, Excess for what is too deep or too large, and what `check_mapping` raises.
    """
    import yaml  # here, as it takes longer to load than all else that a run of cache hits does

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_document(self, node: Any) -> Any:
            _require_bounded(node)
            return super().construct_document(node)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            check_mapping(node.value)
            return super().construct_mapping(node, deep=deep)

    try:
        _require_shallow(yaml.parse(content, Loader=Loader))
        return [document for document in yaml.load_all(content, Loader=Loader) if document is not None]
    except RecursionError:
        raise Excess("aliases of aliases are nested deeper than can be read; write it without them") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).replace('in "<byte string>", line', "in line").split())) from None


def _require_shallow(events: Any) -> None:
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise Excess(
                f"mappings and lists stand in each other at most {DEEPEST} deep, line {event.start_mark.line + 1} has more; "
                "flatten it"
            )


def _require_bounded(root: Any) -> None:
    """Raise ValueError where the document that starts at this node is too large with all its aliases written out."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        found = sizes.get(id(node))
        if found is None:
            sizes[id(node)] = -1
            found = _EACH + (len(node.value) if isinstance(node.value, str) else sum(map(size, _inner(node))))
            sizes[id(node)] = found
        if found < 0 or found > LARGEST:
            what = "holds itself" if found < 0 else f"grows to more than {LARGEST:,} characters"
            raise Excess(
                f"what an alias stands for is written out where it is used, and that in line {node.start_mark.line + 1} "
                f"{what}; write it without aliases of aliases"
            )
        return found

    size(root)


def _inner(node: Any) -> list[Any]:
    pairs = node.value and isinstance(node.value[0], tuple)
    return [each for pair in node.value for each in pair] if pairs else node.value
