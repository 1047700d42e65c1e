"""Writes docs/reference.md: what users declare, send and read, out of the code's own docstrings.

    python -m docs.reference

A test holds the page equal to what this makes of the code, and runs its examples.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import operator
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/reference.md"


@dataclass(frozen=True)
class Part:
    """A section of the page: a module's docstring, and things in it by name."""

    title: str
    module: str
    names: Sequence[str] = ()
    whole: bool = True
    """Whether the module's docstring is shown."""
    imported: bool = True
    """Whether users import these names; else they write or read what is called so."""


PARTS = (
    Part("Windows", "lockstep.windows.declaration", ("Source", "Window"), whole=False),
    Part("What a window's value is", "lockstep.windows.semantics"),
    Part("Features", "lockstep.features"),
    Part(
        "Helpers for features",
        "lockstep.features.exact",
        ("Event", "Array", "namespace", "lookup", "floor_divide"),
        whole=False,
    ),
    Part("Local time", "lockstep.features.localtime", ("Zone.load", "local_time")),
    Part("A model", "lockstep.training.definition", ("Definition", "Label", "Period")),
    Part("Estimators", "lockstep.estimators.xgboost.estimator", ("XGBoost",), whole=False),
    Part("A trained model", "lockstep.estimators.trained", ("Trained",), whole=False),
    Part("Weights", "lockstep.training.weights", ("Weight",)),
    Part("Recorded events", "lockstep.training.loading"),
    Part("Contracts", "lockstep.contracts.document"),
    Part("A contract's fields", "lockstep.contracts.field", ("KEYWORDS", "RESERVED"), False, False),
    Part("A contract's patterns", "lockstep.contracts.pattern"),
    Part(
        "pipeline.toml",
        "lockstep.pipeline",
        ("Topics", "Batch", "Gates", "Stream", "Landing", "Nightly"),
        imported=False,
    ),
    Part("The wire format", "streaming"),
    Part("Scored events", "streaming.codec", ("ScoredEvent",), imported=False),
    Part("Dead letters", "streaming.dead_letters"),
    Part("Which events count", "lockstep.contracts.judgement"),
    Part("JSON that commands print", "lockstep.cli.output"),
    Part("Errors", "lockstep.errors"),
)
_BETWEEN = {"whole": " to ", "number": " to ", "one_of": " or "}
"""Rules of `lockstep.typed_toml` whose arguments say to people what may be written."""
HEAD = """\
# Reference

What you declare, send and read. This page is made of the code's docstrings by
`python -m docs.reference`; its examples are run as tests.
[Bring your own model](bring-your-own-model.md) shows how the pieces go together.
"""


def page() -> str:
    """The whole page."""
    contents = "\n".join(f"- [{part.title}](#{_anchor(part.title)})" for part in PARTS)
    return "\n".join([HEAD, contents, *map(_section, PARTS)]) + "\n"


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _section(part: Part) -> str:
    module = importlib.import_module(part.module)
    lines = [f"\n## {part.title}\n"]
    if part.names and part.imported:
        heads = [name.partition(".")[0] for name in part.names]
        lines.append(f"`from {_home(part, heads)} import {', '.join(heads)}`\n")
    if part.whole:
        lines.append(f"{_markdown(_doc(module))}\n")
    for name in part.names:
        lines.append(f"{_entry(module, name)}\n")
    return "\n".join(lines).rstrip()


def _home(part: Part, names: Sequence[str]) -> str:
    """Where users import these names from: the outermost package that has them."""
    parts = part.module.split(".")
    for package in (".".join(parts[:length]) for length in range(1, len(parts))):
        if set(names) <= set(getattr(importlib.import_module(package), "__all__", ())):
            return package
    return part.module


def _entry(module: Any, name: str) -> str:
    found = operator.attrgetter(name)(module)
    if inspect.isclass(found) and found.__module__ == module.__name__:
        return "\n".join([f"### {name}\n", _markdown(_doc(found)), *_members(found)])
    if inspect.isroutine(found):
        signature = str(inspect.signature(found)).replace("'", "")
        return f"### {name}\n\n`{name}{signature}`\n\n{_markdown(_doc(found))}"
    return f"### {name}\n\n{_constant(module, name, found)}"


def _members(of: type) -> Iterator[str]:
    """A table of what a declaration is made of."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(of))).body[0]
    rows = list(_annotated(tree.body))  # type: ignore[attr-defined]
    if not rows:
        return
    if all(default is None for _, _, default, _ in rows):
        yield "\n| | type | |\n|---|---|---|"
        yield from (f"| `{name}` | {kind} | {said} |" for name, kind, _, said in rows)
        return
    yield "\n| | type | default | |\n|---|---|---|---|"
    for name, kind, default, said in rows:
        yield f"| `{name}` | {kind} | {default or 'must be given'} | {said} |"


def _annotated(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str, str | None, str]]:
    """Names with a type, their defaults, and the docstrings that follow them."""
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            default = _code(statement.value) if statement.value else None
            said = " ".join(_string(following).split())
            yield statement.target.id, _kind(statement.annotation), default, _cell(said)


def _kind(annotation: ast.expr) -> str:
    """A type; of Annotated[TYPE, RULE(...)] the type, and the rule's bounds or choices."""
    match annotation:
        case ast.Subscript(ast.Name("Annotated"), ast.Tuple([kind, ast.Call() as rule])):
            known = not any(
                isinstance(each, ast.Name) for arg in rule.args for each in ast.walk(arg)
            )
            if known and (between := _BETWEEN.get(ast.unparse(rule.func))):
                return f"{_code(kind)}, {between.join(map(ast.unparse, rule.args))}"
            return _code(kind)
    return _code(annotation)


def _code(of: ast.expr) -> str:
    return f"`{_cell(ast.unparse(of))}`"


def _constant(module: Any, name: str, value: Any) -> str:
    """The docstring of a module's constant, and of a mapping its content."""
    body = ast.parse(inspect.getsource(module)).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            lines = [_markdown(inspect.cleandoc(_string(following)))]
            if isinstance(value, dict):
                lines.append("\n| | |\n|---|---|")
                lines += [
                    f"| {key} | {', '.join(f'`{each}`' for each in of)} |"
                    for key, of in value.items()
                ]
            elif isinstance(value, frozenset):
                lines.append(f"\n{', '.join(f'`{each}`' for each in sorted(value))}")
            return "\n".join(lines)
    raise LookupError(f"{module.__name__} has no {name}")


def _string(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""


def _doc(of: Any) -> str:
    found = inspect.getdoc(of)
    if not found:
        raise LookupError(f"{of!r} has no docstring")
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown(text: str) -> str:
    """A docstring's examples become fenced blocks; all else is Markdown as it stands."""
    blocks = re.split(r"\n{2,}", text)
    made = []
    for block in blocks:
        lines = textwrap.dedent(block)
        made.append(f"```pycon\n{lines}\n```" if lines.startswith(">>> ") else block)
    return "\n\n".join(made)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m docs.reference", description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
