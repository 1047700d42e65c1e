"""The reference page is what the code says of itself, and its examples run."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from typing import Any

import pytest

import lockstep.errors
import lockstep.features
import lockstep.training
import lockstep.windows
from docs import reference
from tests.small_model import REPOSITORY

PAGE = (REPOSITORY / "docs/reference.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```pycon\n(.*?)^```$", PAGE, re.M | re.S)


def test_the_page_is_what_the_docstrings_say() -> None:
    assert reference.page() == PAGE, "next: python -m docs.reference"


def names() -> dict[str, Any]:
    """What the page says to import."""
    found = {}
    for module, listed in re.findall(r"^`from (\S+) import (.*)`$", PAGE, re.M):
        for name in listed.split(", "):
            found[name] = getattr(import_module(module), name)
    return found


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_gives_what_it_says(example: str) -> None:
    test = doctest.DocTestParser().get_doctest(example, names(), "reference", None, 0)
    assert test.examples
    told: list[str] = []
    failed, _ = doctest.DocTestRunner().run(test, out=told.append)
    assert not failed, "".join(told)


def test_everything_that_users_import_is_there() -> None:
    shown = set(re.findall(r"^### (\w+)", PAGE, re.M))
    assert {
        *lockstep.features.__all__,
        *lockstep.windows.__all__,
        *lockstep.training.__all__,
    } <= shown
    for name in lockstep.errors.__all__:
        if isinstance(getattr(lockstep.errors, name), type):
            assert name in PAGE, name


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)", PAGE))
def test_each_link_leads_somewhere(target: str) -> None:
    assert (REPOSITORY / "docs" / target).exists()


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([^)]+)\)", PAGE))
def test_each_entry_of_the_contents_is_a_heading(anchor: str) -> None:
    assert anchor in [reference._anchor(title) for title in re.findall(r"^## (.*)$", PAGE, re.M)]


def test_the_readme_leads_here() -> None:
    assert "(docs/reference.md)" in (REPOSITORY / "README.md").read_text()
