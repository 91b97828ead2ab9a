"""What a torch.export or .keras archive may hold: both name code by text, and their loaders run what they name.

torch.export resolves the target of a node by attributes from ``torch`` on (``torch.os.system`` is one), evaluates the text of
symbolic sizes, and unpickles what its configuration says it should. Keras imports the modules that its configuration
names. Each is held to a list here before either library sees the file. Standard library only.
"""

import io
import json
import pickletools
import re
import zipfile
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
_KERAS_MODULES = re.compile(
    r"keras|keras\.(layers|initializers|regularizers|constraints|activations|models|src\.models\.(functional|sequential))"
)
_KERAS_DATA = ("__tensor__", "__numpy__", "__keras_tensor__", "__ellipsis__", "__tuple__", "__slice__", "TensorShape")
_KERAS_REFUSED = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")


def rewrite_torch(path: Path, clean: Path) -> None:
    """Write a torch.export archive anew with what was checked and nothing else. Raises InvalidData.

    What torch reads is then what was looked at, however its reader of archives may differ from ours.
    """
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(clean, "w") as target:
        for name in archive.namelist():
            inner, content = name.partition("/")[2], archive.read(name)
            if inner == _SAMPLES:
                content = _samples(content, f"{path}: {name}")
            elif not _PLAIN.fullmatch(inner):
                raise InvalidData(
                    f"a torch.export file holds a program and tensors, {path} holds {name}, which torch runs or unpickles; "
                    "export the model with torch.export.save, without objects of your own"
                )
            elif inner.endswith(".json"):
                _check_torch(_json(content, f"{path}: {name}"), f"{path}: {name}")
            target.writestr(name, content)


def _check_torch(document: Any, place: str) -> None:
    """Nodes call torch's own operators, sizes are arithmetic, and tensors are raw bytes."""
    for found in _mappings(document):
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
    except (zipfile.BadZipFile, ValueError) as error:
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
    with zipfile.ZipFile(path) as archive:
        document = _json(archive.read("config.json"), f"{shown}: config.json")
    loaded = {name: value for name, value in document.items() if name != "compile_config"}
    for found in _mappings(loaded):
        named = found.get("class_name")
        if named is None and "module" not in found:
            continue
        module = found.get("module")
        if named in _KERAS_REFUSED or found.get("registered_name") not in (None, named) or not _is_keras(module, named):
            raise InvalidData(
                f"a .keras file is made of Keras' own layers, {shown} names {module or 'no module'}.{named}, whose code travels "
                "with the file or is not Keras'; build the model without it (Lambda: a layer of Keras that does the same), or save it as ONNX"
            )


def _is_keras(module: Any, named: Any) -> bool:
    if module is None:  # tensors, dtypes, shapes: data by Keras' own marks
        return named in _KERAS_DATA
    return bool(_KERAS_MODULES.fullmatch(str(module)))


def _json(content: bytes, place: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
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
