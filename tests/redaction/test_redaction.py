"""What is hidden, however it is written; and what is not."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from fleetml.redaction import Redactor, without_passwords

SECRET = "pä$$ w/o'\"rd\\+1"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        repr(SECRET),
        ascii(SECRET),
        repr(SECRET.encode()),
        json.dumps(SECRET),
        json.dumps({"a": [SECRET]}, ensure_ascii=False),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        re.sub("%..", lambda found: found[0].lower(), quote_plus(SECRET)),
        repr({"a": f'say "{SECRET}"'}),
        html.escape(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(b"user:" + SECRET.encode()).decode(),
        base64.b64encode(b"u:" + SECRET.encode() + b":more").decode(),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
    ],
)
def test_every_way_to_write_a_secret_is_hidden(written: str) -> None:
    shown = Redactor([SECRET]).text(f"<{written}>")
    assert "***" in shown
    assert SECRET[4:-4] not in shown
    assert len(shown) < len(written) / 2 + 12


def read(lines: list[str], *secrets: str) -> list[str]:
    taken: list[str] = []
    stream = Redactor(secrets).lines(taken.append)
    for line in lines:
        stream(line)
    stream.end()
    return taken


@pytest.mark.parametrize("place", range(1, 16))
def test_a_secret_split_over_two_lines_is_hidden_wherever_it_is_split(place: int) -> None:
    secret = "0123456789abcdef"
    first, second = read([f"it is {secret[:place]}", f"{secret[place:]} and on"], secret)
    assert len(set(secret[3:-3]) & set(first + second.removesuffix(" and on"))) == 0
    assert second.endswith(" and on")


def test_a_secret_split_over_many_lines_is_hidden() -> None:
    secret = "0123456789abcdef"
    taken = read(["a", *(secret[at : at + 4] for at in range(0, 16, 4)), "b"], secret)
    assert "".join(taken) == "a***b"
    assert len(taken) == 6


@pytest.mark.parametrize("place", range(3, 14))
@pytest.mark.parametrize("control", ["\x1b[31m", "\x1b[0;1;38;5;208m", "\x1b[K\x1b[0m", "\x1b]8;;http://h\x1b\\"])
def test_a_secret_with_colours_in_it_is_hidden(place: int, control: str) -> None:
    secret = "0123456789abcdef"
    coloured = f"it is {control}{secret[:place]}{control}{secret[place:]}{control} here"
    assert read([coloured], secret) == [f"it is {control}***{control} here"]
    halves = coloured.split(control)
    assert "789a" not in "".join(read([control.join(halves[:2]), control.join(["", *halves[2:]])], secret))


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 100])
def test_a_secret_is_hidden_however_many_lines_come_at_once(at_once: int) -> None:
    secret, taken = "0123456789abcdef", []
    wrapped = [secret[:6], secret[6:11], secret[11:]]
    lines = ["a", *wrapped, "", f"x{secret}x01", "23", *wrapped, "b 012345", "b", *wrapped]
    stream = Redactor([secret]).lines(taken.append)
    for place in range(0, len(lines), at_once):
        stream.several(lines[place : place + at_once])
    stream.end()
    assert taken == ["a", "***", "", "", "", "x***x01", "23", "***", "", "", "b 012345", "b", "***", "", ""]


def test_a_secret_that_ends_in_its_own_beginning_is_hidden_whole() -> None:
    assert read(["xabcabc", "dxabcabc", "defabc", "yy"], "abcabcd") == ["x***", "x***", "efabc", "yy"]


def test_of_several_lines_only_those_wait_that_may_be_a_secret_s_beginning() -> None:
    taken: list[str] = []
    stream = Redactor(["0123456789abcdef"]).lines(taken.append)
    stream.several(["one", "two", "it is 0123"])
    assert taken == ["one", "two"]


def test_each_line_of_a_secret_of_several_lines_is_hidden() -> None:
    taken = read([*KEY.splitlines(), "only MIIEvQIBADANBgkq", json.dumps(KEY)], KEY)
    assert not any("MIIE" in line or "hkiG" in line for line in taken)


def test_lines_without_a_secret_come_as_they_are_and_at_once() -> None:
    taken: list[str] = []
    stream = Redactor(["0123456789abcdef"]).lines(taken.append)
    stream("one 0")
    stream("")
    assert taken == ["one 0", ""]


def test_what_waits_comes_in_the_end() -> None:
    assert read(["one 0123"], "0123456789abcdef") == ["one 0123"]


def test_json_values_are_hidden_with_their_keys() -> None:
    assert Redactor(["secret"]).value({"a secret": ["secret", 1, None], "b": ("x",)}) == {
        "a ***": ["***", 1, None],
        "b": ("x",),
    }


@pytest.mark.parametrize("value", ["a 4711999 b", 4711999, {"x": [4711999]}, {"4711999": 1}, '"4711999"'])
def test_a_value_that_holds_a_secret_is_found(value: object) -> None:
    assert Redactor(["4711999"]).holds(value)
    assert not Redactor(["4711998"]).holds(value)


def test_names_are_hidden_but_may_be_kept(tmp_path: Path) -> None:
    redactor = Redactor(["somebody", "pass9word"], ["somebody"])
    assert redactor.text("somebody: pass9word") == "***: ***"
    (tmp_path / "f").write_text("somebody")
    assert not redactor.holds(["somebody"])
    assert redactor.leak(tmp_path) is None
    assert redactor.holds(["pass9word"])


def test_a_part_of_a_secret_is_no_secret_in_outputs() -> None:
    assert not Redactor(["12345678"]).holds({"rows": 345678})


def test_values_too_short_to_be_hidden_are_left(tmp_path: Path) -> None:
    redactor = Redactor(["1", "yes", ""])
    assert redactor.text("yes, 1") == "yes, 1"
    assert not redactor.holds("yes")
    assert redactor.leak(tmp_path) is None


@pytest.mark.parametrize("before", [0, 1 << 20, (1 << 20) - 3])
def test_a_file_that_holds_a_secret_is_found_wherever_in_it(tmp_path: Path, before: int) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "good").write_bytes(b"nothing")
    (tmp_path / "sub/bad").write_bytes(b"\xff" * before + b"s3cr3t" + b"\0" * 99)
    assert Redactor(["s3cr3t"]).leak(tmp_path) == tmp_path / "sub/bad"
    assert Redactor(["other"]).leak(tmp_path) is None


def test_a_file_named_after_a_secret_is_found(tmp_path: Path) -> None:
    (tmp_path / "of-s3cr3t.txt").touch()
    assert Redactor(["s3cr3t"]).leak(tmp_path) == tmp_path / "of-s3cr3t.txt"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to postgresql://u:p@h:5432/db now", "to postgresql://u:***@h:5432/db now"),
        ("mysql+pymysql://u:p%40:x@h/db", "mysql+pymysql://u:***@h/db"),
        ("redis://:p@h", "redis://:***@h"),
        ("http://h:80/a@b and a@b", "http://h:80/a@b and a@b"),
        ("git@host:path https://u@h", "git@host:path https://u@h"),
        ("mysql://u:p@ss@h/db", "mysql://u:***@h/db"),
    ],
)
def test_passwords_of_urls_are_hidden(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
    assert Redactor().text(text) == shown
