"""Keeps secrets out of what FleetML writes: texts, JSON values, lines of logs, files.

A secret is found as it is, and as `repr`, JSON, HTML, URLs, base64 and hexadecimal digits write it, and with colours in it;
in lines also when it is split over several.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fleetml.lines import Take, taker

HIDDEN = "***"
SHORTEST = 4  # characters; to hide "1" or "yes" would hide half of every log, and tell what it is
_HELD = 3  # characters of a secret at the end of a line that make the line wait for the next one
_PASSWORD = r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@?#\"'<>]*):([^\s/\"'<>]+)@"  # noqa: S105
_ENCODED = 6  # bytes; shorter ones in base64 or hexadecimal digits may be anything
_CHUNK = 1 << 20  # bytes
_CONTROL = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\))"  # a colour, or a title or link of a terminal
_BETWEEN = {"": "", "\n": r"\n?", "\x1b": rf"(?:{_CONTROL}|\n)*"}  # what may stand between a secret's letters
_APART = rf"{_CONTROL}|\n"


def without_passwords(text: str) -> str:
    """Return the text without the passwords of URLs in it: ``postgresql://u:***@host/db``."""
    return re.sub(_PASSWORD, rf"\1:{HIDDEN}@", text) if "://" in text and "@" in text else text


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
        self._made: dict[str, re.Pattern[str]] = {}
        self._ends = {form[at : at + _HELD] for form in self._forms for at in range(len(form) - _HELD)}

    def text(self, text: str) -> str:
        """Return a text without secrets, and without the passwords of URLs."""
        if secret := self._pattern_for(text):
            text = secret.sub(_hide, text)
        return without_passwords(text)

    def _pattern_for(self, text: str) -> re.Pattern[str] | None:
        """Return what finds the secrets in a text; None where it has none."""
        plain = _plain(text)
        if not any(core in plain for core in self._cores):  # the patterns are slow, of a long secret slow to make too
            return None
        return self._patterns("\x1b" if "\x1b" in text else "\n" if "\n" in text else "")

    def _patterns(self, apart: str) -> re.Pattern[str]:
        if apart not in self._made:
            self._made[apart] = _alternatives(_pattern(form, _BETWEEN[apart]) for form in self._forms)
        return self._made[apart]

    def value(self, value: Any) -> Any:
        """The same for a JSON value."""
        return mapped(value, self.text)

    def holds(self, value: Any) -> bool:
        """Say whether a JSON value holds a secret."""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        plain = _plain(text)
        return any(form in text or form in plain for form in self._refused)

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

    def lines(self, take: Take) -> Lines:
        """Return what hands lines on to `take` without secrets."""
        return Lines(self, take)

    def finished(self, lines: Sequence[str]) -> int:
        """Return how many lines, from the first on, have no part in what may be the beginning of a secret at their end."""
        text, done = "\n".join(lines), len(lines)
        begun = self._begun(_plain(text))
        while done and begun > 0:
            done -= 1
            begun -= len(_plain(lines[done]))
        if 0 < done < len(lines) and (secrets := self._pattern_for(text)):
            start = sum(map(len, lines[:done])) + done
            for found in reversed([*secrets.finditer(text)]):
                if found.start() < start < found.end():  # one that is whole is hidden whole
                    done, start = text.count("\n", 0, found.start()), text.rfind("\n", 0, found.start()) + 1
        return done

    def _begun(self, plain: str) -> int:
        """Return how many characters at the end of a text are the beginning of a secret, at most."""
        if plain[-_HELD:] not in self._ends:
            return 0
        sizes = (
            size
            for form in self._forms
            for size in range(min(len(form) - 1, len(plain)), _HELD - 1, -1)
            if plain.endswith(form[:size])
        )
        return max(sizes, default=0)


class Lines:
    """A stream of lines. One that ends in the beginning of a secret waits for the next; `end` hands on what waits."""

    def __init__(self, redactor: Redactor, take: Take) -> None:
        self._redactor, self._take = redactor, taker(take)
        self._held: list[str] = []

    def __call__(self, line: str) -> None:
        self.several([line])

    def several(self, lines: Sequence[str]) -> None:
        """Take lines, many in one call."""
        if self._redactor.longest:
            lines = [*self._held, *lines]
            done = self._redactor.finished(lines)
            if len(lines) - done > self._redactor.longest:
                done = len(lines)
            lines, self._held = lines[:done], lines[done:]
        self._hand_on(lines)

    def end(self) -> None:
        held, self._held = self._held, []
        self._hand_on(held)

    def _hand_on(self, lines: Sequence[str]) -> None:
        if lines:
            self._take(self._redactor.text("\n".join(lines)).split("\n"))


def _plain(text: str) -> str:
    """Return a text in one line, without colours."""
    return re.sub(_APART, "", text) if "\x1b" in text else text.replace("\n", "")


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
            if len(raw) >= _ENCODED:
                yield from (raw.hex(), raw.hex().upper())
                yield from _base64(raw)


def _base64(raw: bytes) -> Iterator[str]:
    """Yield what base64 makes of bytes at each of the three places they can have in a longer text."""
    import base64

    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        start = (0, 2, 3)[before]  # letters that the bytes before have a part in
        end = len(encoded.rstrip("=")) - (1 if encoded.endswith("=") else 0)  # and those after
        inner = encoded[start:end]
        yield from (inner, inner.translate(str.maketrans("+/", "-_")))
