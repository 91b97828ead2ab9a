"""Keeps secrets out of what FleetML writes: texts, JSON values, lines of logs, files.

A secret is found as it is, and as `repr`, JSON, URLs and base64 write it; in lines also when it is split over several.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

HIDDEN = "***"
SHORTEST = 4  # characters; to hide "1" or "yes" would hide half of every log, and tell what it is
_HELD = 3  # characters of a secret at the end of a line that make the line wait for the next one
_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@?#\"'<>]*):([^\s/\"'<>]+)@")
_CHUNK = 1 << 20  # bytes


def without_passwords(text: str) -> str:
    """Return the text without the passwords of URLs in it: ``postgresql://u:***@host/db``."""
    return _PASSWORD.sub(rf"\1:{HIDDEN}@", text) if "://" in text and "@" in text else text


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with every text in it (keys too) changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {mapped(key, change): mapped(item, change) for key, item in value.items()}
    return value


class Redactor:
    """Knows the secrets of one step. Values shorter than `SHORTEST` are too common to be hidden."""

    def __init__(self, values: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        """`names` are hidden as well, but what holds one is fit to be kept (`holds`, `leak`)."""
        values, names = list(values), set(names)
        self._refused = {form for value in values if value not in names for form in _forms(value)}
        self._forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self.longest = len(self._forms[0]) if self._forms else 0  # characters; no secret is split over more lines
        self._cores = {form[_free(form) :].replace("\n", "") for form in self._forms}  # what every match has in it
        self._ends = {form[at : at + _HELD] for form in self._forms for at in range(len(form) - _HELD)}

    def text(self, text: str) -> str:
        """Return a text without secrets, and without the passwords of URLs."""
        plain = text.replace("\n", "")
        if any(core in plain for core in self._cores):  # the patterns are slow, of a long secret slow to make too
            secret = self._split if "\n" in text else self._whole
            text = secret.sub(_hide, text)
        return without_passwords(text)

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        return _alternatives(_pattern(form, "") for form in self._forms)

    @cached_property
    def _split(self) -> re.Pattern[str]:
        return _alternatives(_pattern(form, "\n?") for form in self._forms)

    def value(self, value: Any) -> Any:
        """The same for a JSON value."""
        return mapped(value, self.text)

    def holds(self, value: Any) -> bool:
        """Say whether a JSON value holds a secret."""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return any(form in text or form in text.replace("\n", "") for form in self._refused)

    def leak(self, place: Path) -> Path | None:
        """Return the first file at or below `place` that holds a secret, or is named after one. Raises OSError.

        Only what lies there as bytes is found: not what is compressed or encrypted.
        """
        if not self._refused:
            return None
        return next((path for path in _files(place) if self._any_in(path)), None)

    def _any_in(self, path: Path) -> bool:
        if self.holds(str(path)):
            return True
        if path.is_symlink() or not path.is_file():
            return False
        wanted = [form.encode(errors="surrogateescape") for form in self._refused]
        overlap = max(map(len, wanted)) - 1
        before = b""
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                window = before + chunk
                if any(form in window for form in wanted):
                    return True
                before = window[-overlap:]
        return False

    def lines(self, take: Callable[[str], None]) -> Lines:
        """Return what hands lines on to `take` without secrets."""
        return Lines(self, take)

    def _ends_in_one(self, text: str) -> bool:
        """Say whether a text ends in the beginning of a secret."""
        plain = text.replace("\n", "")
        return plain[-_HELD:] in self._ends and any(
            plain.endswith(form[:size]) for form in self._forms for size in range(_HELD, min(len(form), len(plain) + 1))
        )


class Lines:
    """A stream of lines. One that ends in the beginning of a secret waits for the next; `end` hands on what waits."""

    def __init__(self, redactor: Redactor, take: Callable[[str], None]) -> None:
        self._redactor, self._take = redactor, take
        self._held: list[str] = []

    def __call__(self, line: str) -> None:
        if self._redactor.longest == 0:
            self._take(without_passwords(line))
            return
        self._held.append(line)
        if len(self._held) > self._redactor.longest or not self._redactor._ends_in_one("\n".join(self._held)):
            self.end()

    def end(self) -> None:
        held, self._held = self._held, []
        if held:
            for line in self._redactor.text("\n".join(held)).split("\n"):
                self._take(line)


def _hide(found: re.Match[str]) -> str:
    return HIDDEN + "\n" * found[0].count("\n")  # as many lines as before


def _alternatives(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or "(?!)")  # which matches nothing


def _pattern(form: str, between: str) -> str:
    """Match a form with `between` between its letters; the first two of a longer one may be on the line before."""
    letters = [re.escape(letter) + between for letter in form]
    free = _free(form)
    return "".join(f"(?:{letter})?" for letter in letters[:free]) + "".join(letters[free:-1]) + re.escape(form[-1])


def _free(form: str) -> int:
    return _HELD - 1 if len(form) >= 2 * SHORTEST else 0


def _files(place: Path) -> Iterator[Path]:
    yield place
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            yield Path(folder, name)


def _forms(value: str) -> Iterator[str]:
    """Yield how a secret may be written; of one with several lines each line too."""
    import html  # here, as most steps have no secret
    from urllib.parse import quote, quote_plus

    for part in {value, value.strip(), *(line.strip() for line in value.splitlines())}:
        if len(part) >= SHORTEST:
            raw = part.encode(errors="surrogateescape")
            yield part.replace("\r", "").replace("\n", "")  # as lines bring it
            for written in (repr, ascii, lambda text: repr(text.encode(errors="surrogateescape"))[1:]):
                escaped = written("\"'" + part)[4:-1]  # with both quotes before it, a quote in it is escaped
                yield from (escaped, escaped.replace("\\'", "'"))
            yield html.escape(part)
            yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
            for quoted in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
                yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))
            yield raw.decode(errors="replace")
            yield from _base64(raw)


def _base64(raw: bytes) -> Iterator[str]:
    """Yield what base64 makes of bytes at each of the three places they can have in a longer text."""
    import base64

    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        start = (0, 2, 3)[before]  # letters that the bytes before have a part in
        end = len(encoded.rstrip("=")) - (1 if encoded.endswith("=") else 0)  # and those after
        inner = encoded[start:end]
        if len(inner) >= 2 * SHORTEST:
            yield from (inner, inner.translate(str.maketrans("+/", "-_")))
