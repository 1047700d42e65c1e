"""What the pages name is there: files, modules and what is in them, and where links lead.

Not the change log's: it tells of what was there.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import get_type_hints

import pytest

from lockstep.pipeline import Pipeline
from streaming import dead_letters
from tests.small_model import REPOSITORY

CODE = ("benchmarks", "dags", "demo", "docs", "jobs", "lockstep", "models", "streaming", "tests")
PAGES = sorted(
    page
    for page in [
        *REPOSITORY.glob("*.md"),
        *(page for folder in CODE for page in (REPOSITORY / folder).rglob("*.md")),
    ]
    if page.name != "CHANGELOG.md"
)
_IN_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join((*CODE, 'docker', 'schemas'))})/[\w./-]*\w")
_FILE = re.compile(r"[\w-]+\.(?:py|md|toml|yaml|json)")
_DOTTED = re.compile(r"(?<![\w./-])[a-z]\w*(?:\.\w+)+(?![\w/])")
_PLACEHOLDER = re.compile(r"\b[A-Z_]{4,}\b")
_HEADERS = set(re.findall(r"`(lockstep\.\w+)`", dead_letters.__doc__ or ""))
_LINK = re.compile(r"\]\(([^)#\s]+)")


@cache
def known() -> set[str]:
    """The names of files that a page may give without their folder."""
    found = {file.name for folder in CODE for file in (REPOSITORY / folder).rglob("*.py")}
    found |= {file.name for file in REPOSITORY.glob("models/*/*")}
    return found | {file.name for file in REPOSITORY.iterdir()}


def missing(text: str) -> list[str]:
    """What a page names that is nowhere."""
    shown = _IN_CODE.findall(text)
    # A decision may be named by its number.
    gone = [path for path in _PATH.findall(text) if not [*REPOSITORY.glob(f"{path}*")]]
    gone += [name for name in shown if _FILE.fullmatch(name) and name not in known()]
    dotted = [name for each in shown for name in _DOTTED.findall(each)]
    gone += [name for name in dotted if not _FILE.fullmatch(name) and not _is_there(name)]
    return [name for name in gone if not _PLACEHOLDER.search(name)]


def _is_there(name: str) -> bool:
    first, second, *_ = name.split(".")
    if first in CODE:
        return name in _HEADERS or _resolves(name)
    if not (REPOSITORY / "lockstep" / first).is_dir():
        return True  # a name of something else
    section = get_type_hints(Pipeline).get(first)
    return _resolves(f"lockstep.{name}") or second in getattr(section, "__annotations__", {})


def _resolves(name: str) -> bool:
    """Whether it is a module, or what a module holds."""
    parent, _, last = name.rpartition(".")
    try:
        return find_spec(name) is not None or hasattr(import_module(parent), last)
    except ModuleNotFoundError:
        return bool(parent) and "." in parent and hasattr(import_module(parent), last)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert missing(text) == []
    links = [to for to in _LINK.findall(text) if not to.startswith(("http://", "https://"))]
    assert [to for to in links if not (page.parent / to).exists()] == []


def test_what_has_moved_is_noticed() -> None:
    said = "`lockstep.lake.nowhere`, `kafka.nowhere`, lockstep/nowhere.py, `nowhere.py`"
    assert sorted(missing(said)) == [
        *("kafka.nowhere", "lockstep.lake.nowhere", "lockstep/nowhere.py", "nowhere.py"),
    ]
    said = "`lockstep.errors.UsageError`, `kafka.reader`, `lockstep.left_out`, `landing.max_age_d`"
    assert missing(said) == []
