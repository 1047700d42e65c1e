"""The tutorial shows the files as they are; what it and the other pages type exists."""

from __future__ import annotations

import re
import shlex
from importlib import import_module

import click
import pytest

from lockstep.cli import _COMMANDS
from lockstep.cli.query_table import print_rows
from tests.small_model import REPOSITORY

TUTORIAL = (REPOSITORY / "docs/bring-your-own-model.md").read_text()
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", TUTORIAL, re.M | re.S)
EXCERPTS = [(path, text) for kind, path, text in BLOCKS if kind != "console"]
TYPED = [
    line.removeprefix("$ ").split(" | ")[0]
    for kind, _, text in BLOCKS
    if kind == "console"
    for line in text.splitlines()
    if line.startswith("$ ")
]


def test_there_is_something_to_check() -> None:
    assert len(EXCERPTS) > 10
    assert len(TYPED) > 5
    assert TUTORIAL.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize(("path", "text"), EXCERPTS)
def test_each_excerpt_is_in_its_file(path: str, text: str) -> None:
    """A line of three dots leaves something out; the parts come in the file's order."""
    whole, position = (REPOSITORY / path).read_text(), 0
    for part in re.split(r"^\.\.\.\n", text, flags=re.M):
        found = whole.find(part.rstrip("\n"), position)
        assert found >= 0, f"not in {path} (any more):\n{part}"
        position = found + len(part)


@pytest.mark.parametrize("line", TYPED)
def test_each_command_can_be_typed(line: str) -> None:
    lockstep, name, *words = shlex.split(line)
    assert lockstep == "lockstep"
    module, function = _COMMANDS[name].split(":")
    command = getattr(import_module(module), function)
    # Parses the words as if typed, and runs nothing.
    assert isinstance(command.make_context(name, words), click.Context)


ASKED = re.findall(r"^\$ lockstep query .*\n((?:(?!```).+\n)+)", TUTORIAL, re.M)
_VALUE = re.compile(r"^(\w+) +\| (.*)$", re.M)


@pytest.mark.parametrize("shown", ASKED)
def test_the_rows_of_a_query_are_shown_as_they_are_printed(
    shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal of 80 columns, where a wide row comes one value a line."""
    cells = dict(_VALUE.findall(shown))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_rows(list(cells), [list(cells.values())], vertical=False)
    assert capsys.readouterr().out == shown


def test_a_query_is_shown() -> None:
    assert ASKED


PAGES = [
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "benchmarks/README.md"),
    *(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "models").glob("*/README.md")),
    *(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "docs").rglob("*.md")),
]
NAMED = re.compile(r"(?:^|`)lockstep ([a-z]+)([^`#\n]*)", re.M)


@pytest.mark.parametrize("page", PAGES)
def test_each_command_and_flag_that_a_page_names_exists(page: str) -> None:
    for name, rest in NAMED.findall((REPOSITORY / page).read_text()):
        assert name in _COMMANDS, f"{page} names lockstep {name}"
        module, function = _COMMANDS[name].split(":")
        command = getattr(import_module(module), function)
        known = {flag for option in command.params for flag in (*option.opts, "--help")}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"lockstep {name}{rest}"


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:)([^)#]+)", TUTORIAL))
def test_each_link_leads_somewhere(target: str) -> None:
    assert (REPOSITORY / "docs" / target).exists()
