"""What a torch.export or .keras archive may hold: both name code by text, and their loaders run what they name.

torch.export resolves the target of a node by attributes from ``torch`` on (``torch.os.system`` is one), evaluates the text of
symbolic sizes, runs that of its guards, imports what the shapes of inputs and outputs name, and unpickles what its
configuration says it should. Keras imports the modules that its configuration names. Each is held to a list here before either library sees the file. Standard library only.
"""

import contextlib
import io
import json
import pickletools
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetml.errors import InvalidData

_TARGET = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_(int|float|max|min|not|ite|sum|sqrt)|math\.(ceil|floor|trunc)"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
_SIZE = re.compile(
    r"(\b(FloorDiv|CleanDiv|CeilDiv|Mod|PythonMod|Max|Min|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|Add|Mul|Pow|Integer)(?=\()"
    r"|\bSymbol\('[su]\d+'(, ?\w+=(True|False))*\)|\b[su]\d+\b|\b\d+\b|\b(True|False|evaluate=False)\b|[-+*/(),<>=&|~ ])*"
)
_SAMPLE_GLOBALS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|Size|device|dtype|strided)"
    r"|torch\.storage UntypedStorage"
)
_PLAIN = re.compile(
    r"archive_(format|version)|byteorder|version|\.data/\w+|\.format_version|\.storage_alignment|extra/.*"
    r"|models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
)
_SAMPLES = "data/sample_inputs/model.pt"
_PROGRAM = "models/model.json"
_PROGRAM_KEYS = {
    "graph_module", "opset_version", "range_constraints", "schema_version", "verifiers", "torch_version", "guards_code",
}  # fmt: skip
_TREES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
MAX_JSON_BYTES = 64 << 20  # parsed, it takes ten times as much
BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, KeyError)
"""What reading a broken, encrypted or unusually compressed archive raises."""
_KERAS_MODULES = re.compile(
    r"keras|keras\.(layers|initializers|regularizers|constraints|activations|models|src\.models\.(functional|sequential))"
)
_KERAS_DATA = ("__tensor__", "__numpy__", "__keras_tensor__", "__ellipsis__", "__tuple__", "__slice__", "TensorShape")
_KERAS_REFUSED = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")


def rewrite_torch(path: Path, clean: Path) -> None:
    """Write a torch.export archive anew with what was checked and nothing else. Raises InvalidData.

    What torch reads is then what was looked at, however its reader of archives may differ from ours.
    """
    with _opened(path, path) as archive, zipfile.ZipFile(clean, "w") as target:
        for name in archive.namelist():
            inner, place = name.partition("/")[2], f"{path}: {name}"
            if inner == _SAMPLES:
                content = _samples(archive.read(name), place)
            elif not _PLAIN.fullmatch(inner):
                raise InvalidData(
                    f"a torch.export file holds a program and tensors, {path} holds {name}, which torch runs or unpickles; "
                    "export the model with torch.export.save, without objects of your own"
                )
            elif inner.endswith(".json"):
                document = _json(archive, name, place)
                _check_torch(document, place)
                content = json.dumps(_unguarded(document, place) if inner == _PROGRAM else document).encode()
            else:
                content = archive.read(name)
            target.writestr(name, content)


def _unguarded(program: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the program without its guards: torch runs their text, and what they guard is asked of the graph anyway."""
    if strange := sorted(set(program) - _PROGRAM_KEYS):
        raise _foreign(f"has {', '.join(strange)}", place)
    return {**program, "guards_code": []}


def _check_torch(document: Any, place: str) -> None:
    """Nodes call torch's own operators, sizes are arithmetic, trees are plain, and tensors are raw bytes."""
    for found in _mappings(document):
        for key in ("in_spec", "out_spec"):
            if key in found and not _is_plain_tree(found[key]):
                raise _foreign(f"takes or returns more than tuples, lists and dicts by text ({key})", place)
        target, size = found.get("target"), found.get("expr_str")
        if target is not None and not _TARGET.fullmatch(str(target)):
            raise _foreign(f"calls {target}", place)
        if size is not None and not _SIZE.fullmatch(str(size)):
            raise _foreign(f"has the size {size!r}", place)
        if found.get("use_pickle"):
            raise _foreign(f"unpickles {found.get('path_name')}", place)
        name = found.get("path_name")
        if name is not None and not re.fullmatch(r"(weight|tensor)_\d+", str(name)):
            raise _foreign(f"reads {name}", place)


def _is_plain_tree(text: Any) -> bool:
    """Say whether a tree of inputs or outputs, JSON in a string, is made of Python's own containers: torch imports others."""
    try:
        _protocol, tree = json.loads(text)
        left = [tree]
        while left:
            part = left.pop()
            if part["type"] not in _TREES or not _is_plain_context(part["context"]):
                return False
            left.extend(part["children_spec"])
    except (TypeError, ValueError, KeyError, RecursionError):
        return False
    return True


def _is_plain_context(context: Any) -> bool:
    """Say whether it is nothing, or the keys of a dict; torch reads it as JSON once more, where ``__enum__`` names a class."""
    known = None if context is None else json.loads(context)
    return known is None or (isinstance(known, list) and all(isinstance(key, str) for key in known))


def _samples(content: bytes, place: str) -> bytes:
    """Return the example inputs, an archive inside, anew: its pickle rebuilds tensors and nothing else."""
    made = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made, "w") as target:
            for name in archive.namelist():
                inner, part = name.partition("/")[2], archive.read(name)
                if inner == "data.pkl":
                    for named in _globals(part):
                        if not _SAMPLE_GLOBALS.fullmatch(named):
                            raise _foreign(f"unpickles {named}", place)
                elif not re.fullmatch(r"data/\d+|version|byteorder|\.data/\w+|\.\w+", inner):
                    raise _foreign(f"holds {inner}", place)
                target.writestr(name, part)
    except (*BROKEN, ValueError) as error:
        raise _foreign(f"has no readable example inputs ({error})", place) from error
    return made.getvalue()


def _globals(content: bytes) -> Iterator[str]:
    """Yield the "module name" that a pickle imports; an import by the stack is named as such, which nothing allows."""
    for opcode, argument, _place in pickletools.genops(content):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument)
        elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            yield opcode.name


def check_keras(path: Path, shown: Path) -> None:
    """Raises InvalidData where the configuration of a .keras file names code that is not Keras' own layers."""
    with _opened(path, shown) as archive:
        document = _json(archive, "config.json", f"{shown}: config.json")
    loaded = {name: value for name, value in document.items() if name != "compile_config"}
    for found in _mappings(loaded):
        named = found.get("class_name")
        if named is None and "module" not in found:
            continue
        module = found.get("module")
        known = _is_keras(module, named, found.get("config"))
        if named in _KERAS_REFUSED or found.get("registered_name") not in (None, named) or not known:
            raise InvalidData(
                f"a .keras file is made of Keras' own layers, {shown} names {module or 'no module'}.{named}, whose code travels "
                "with the file or is not Keras'; build the model without it (Lambda: a layer of Keras that does the same), or save it as ONNX"
            )


def _is_keras(module: Any, named: Any, config: Any) -> bool:
    if module is None:  # tensors, dtypes, shapes: data by Keras' own marks
        return named in _KERAS_DATA
    # Keras joins module and name by a dot: a name with dots is another module's.
    names = (named, config) if named == "function" else (named,)
    return bool(_KERAS_MODULES.fullmatch(str(module))) and all(isinstance(n, str) and n.isidentifier() for n in names)


@contextlib.contextmanager
def _opened(path: Path, shown: Path) -> Iterator[zipfile.ZipFile]:
    """Raises InvalidData where the archive, or what is read of it, is broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except BROKEN as error:
        raise InvalidData(f"{shown} must be a whole archive, it is not: {error}; copy or save it again") from error


def _json(archive: zipfile.ZipFile, name: str, place: str) -> dict[str, Any]:
    if (size := archive.getinfo(name).file_size) > MAX_JSON_BYTES:
        raise InvalidData(
            f"a model's description has at most {MAX_JSON_BYTES >> 20} MiB, {place} has {size >> 20} MiB; save the model as ONNX"
        )
    try:
        found = json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise InvalidData(f"{place} must be JSON, it is not: {error}; save the model again") from error
    return found if isinstance(found, dict) else {"": found}


def _mappings(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a JSON document. No recursion: the document's author chose its depth."""
    left = [document]
    while left:
        found = left.pop()
        if isinstance(found, dict):
            yield found
            left.extend(found.values())
        elif isinstance(found, list):
            left.extend(found)


def _foreign(what: str, place: str) -> InvalidData:
    return InvalidData(
        f"a torch.export file may use torch's own operators (aten) and plain tensors, {place} {what}; "
        "export the model without operators and objects of your own, or as ONNX"
    )
