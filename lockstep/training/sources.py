"""What a module of a use case is made of: its author's own files, and the libraries it names.

Read from the sources, not from sys.modules: what else a process has imported makes no other
model. Every form of import is followed, also inside of functions and conditions, relative ones,
packages' __init__ and `import_module("...")`. Where a name is computed, nobody can read which
module it is, and all of the package counts. Data count that lie beside the modules, whichever of
them is read; a file that is read from elsewhere is not seen.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import all_suffixes
from importlib.metadata import packages_distributions, version
from pathlib import Path

from lockstep.compiling.asking import is_own

__all__ = ["Sources", "sources_of"]

_COMPUTED = frozenset(
    {"import_module", "__import__", "run_path", "run_module", "spec_from_file_location"}
)
_BUILTINS = frozenset({"eval", "exec"})
"""Methods may have these names and import nothing."""
_FOR_PEOPLE = frozenset({".md", ".ipynb", ".pyc"})
_DEPLOYMENT = "pipeline.toml"


@dataclass(frozen=True)
class Sources:
    """`files`: module or path inside its package -> file. `libraries`: names of top packages."""

    files: dict[str, Path] = field(default_factory=dict)
    libraries: set[str] = field(default_factory=set)

    def hashes(self) -> dict[str, str]:
        """sha256 of each file, by its name."""
        found = {}
        for name, path in self.files.items():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    def versions(self) -> dict[str, str]:
        """Of each library, by the name that it is installed under."""
        known = packages_distributions()
        names = {name for library in self.libraries for name in known.get(library, ())}
        return {name: version(name) for name in sorted(names)}


def sources_of(module: str) -> Sources:
    """Everything of the author's that `module` reaches, with itself."""
    # A module that was written a moment ago is a module.
    importlib.invalidate_caches()
    found, left = Sources(), [module]
    seen: set[str] = set()
    while left:
        name = left.pop()
        top = name.partition(".")[0]
        if name in seen or top in sys.stdlib_module_names or top == "lockstep":
            continue
        seen.add(name)
        place = _place(top)
        if place is not None and not place.is_own:
            found.libraries.add(top)
            continue
        place = _place(name)
        if place is None:
            continue
        left += _parents(name)
        if place.file is None:  # a folder without __init__.py
            continue
        found.files[name] = place.file
        package = name if place.folders else _parent(name)
        if package:
            _add_data(found, package, place.file.parent)
        if place.file.suffix == ".py":
            left += _imports(ast.parse(place.file.read_bytes()), package)
    return found


@dataclass(frozen=True)
class _Place:
    """Where a module lies. Only packages have folders; one without __init__ has no file."""

    file: Path | None
    folders: tuple[Path, ...] = ()

    @property
    def is_own(self) -> bool:
        return all(is_own(str(place)) for place in (self.file, *self.folders) if place)


def _place(name: str) -> _Place | None:
    """Where a module lies, found without importing its package, which would run its code."""
    top, *parts = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module that somebody made by hand
        return None
    if spec is None:
        return None
    file = Path(spec.origin).absolute() if spec.origin and spec.has_location else None
    folders = spec.submodule_search_locations or ()
    place = _Place(file, tuple(Path(folder).absolute() for folder in folders))
    for part in parts:
        inner = _inside(place.folders, part)
        if inner is None:
            return None
        place = inner
    return place


def _inside(folders: Sequence[Path], part: str) -> _Place | None:
    for folder in folders:
        for suffix in all_suffixes():
            for file in (folder / part / f"__init__{suffix}", folder / f"{part}{suffix}"):
                if file.is_file():
                    return _Place(file, (file.parent,) if file.parent.name == part else ())
    spaces = tuple(folder / part for folder in folders if (folder / part).is_dir())
    return _Place(None, spaces) if spaces else None


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _parents(name: str) -> list[str]:
    """The packages that a module lies in, whose __init__ runs before it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """The names of modules that a module of `package` may import, and those of what is in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            yield base
            for alias in node.names:
                if alias.name == "*":
                    yield from _modules_in(base)
                else:
                    yield f"{base}.{alias.name}"
        elif isinstance(node, ast.Call):
            yield from _called(node, package)


def _called(node: ast.Call, package: str) -> Iterator[str]:
    """What a call imports: the module that it names, or anything where that is computed."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    said = [_said(argument, package) for argument in given]
    if name == "import_module" and said and all(said):
        yield _absolute(*[*said, package][:2])
    elif name == "__import__" and len(said) == 1 and said[0]:
        yield said[0]
    elif name in _COMPUTED or (name in _BUILTINS and isinstance(function, ast.Name)):
        yield from _everything_in(package.partition(".")[0])


def _said(argument: ast.expr, package: str) -> str:
    """An argument's text; empty where it is computed."""
    if isinstance(argument, ast.Name) and argument.id == "__package__":
        return package
    value = argument.value if isinstance(argument, ast.Constant) else None
    return value if isinstance(value, str) else ""


def _absolute(name: str, package: str) -> str:
    try:
        return importlib.util.resolve_name(name, package)
    except ImportError:  # beyond the top: it raises there, too
        return package


def _modules_in(package: str) -> Iterator[str]:
    """The modules that `from package import *` may bring."""
    place = _place(package)
    for module in pkgutil.iter_modules(map(str, place.folders) if place else ()):
        yield f"{package}.{module.name}"


def _everything_in(top: str) -> Iterator[str]:
    place = _place(top)
    for folder in place.folders if place else ():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([top, *(part for part in parts if part != "__init__")])


def _add_data(found: Sources, package: str, beside: Path) -> None:
    """What lies in a package's folder, and below it in folders without Python."""
    left = [beside]
    while left:
        for path in sorted(left.pop().iterdir()):
            if path.name.startswith((".", "__pycache__")):
                continue
            if path.is_dir():
                if not any(path.rglob("*.py")):
                    left.append(path)
            elif path.suffix not in {*_FOR_PEOPLE, ".py"} and path.name != _DEPLOYMENT:
                found.files[f"{package}/{path.relative_to(beside)}"] = path
