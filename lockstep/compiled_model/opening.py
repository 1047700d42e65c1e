"""Open a compiled model: from bytes, and only when everything that it claims holds here.

In this order, each failure naming what it found:
 1. the digest is the one that was approved
 2. the bytes are an ONNX file
 3. operators of allowed domains only, no data outside of the file
 4. the manifest is there, and the seal fits
 5. the windows can be computed from the contracts of their sources
 6. inputs and outputs are those of the contract and the manifest
 7. the golden vectors reproduce on this machine
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lockstep.compiled_model.golden import check_golden
from lockstep.compiled_model.inference import open_session
from lockstep.compiled_model.manifest import MANIFEST_KEY, Input, InputType, Manifest, decode
from lockstep.compiled_model.sealing import check_seal
from lockstep.compiled_model.structure import check_structure, parse
from lockstep.compiled_model.windows import check_windows
from lockstep.contracts import Contract, Kind
from lockstep.errors import ModelRefused, UsageError
from lockstep.windows.semantics import WindowSet

__all__ = ["GRAPH_TYPES", "CompiledModel", "digest_of", "open_model"]

GRAPH_TYPES: Mapping[Kind, InputType] = {
    "string": "string",
    "integer": "int64",
    "timestamp": "int64",
    "number": "float32",
}
_ORT_TYPES = {"string": "tensor(string)", "int64": "tensor(int64)", "float32": "tensor(float)"}


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """An opened model. `session` may be run by several threads; each run uses one."""

    data: bytes
    digest: str
    """sha256 of the bytes, in hexadecimal: the model's identity everywhere."""
    manifest: Manifest
    contract: Contract
    windows: WindowSet
    """The windows that the graph reads, in the order of a row's window values."""
    session: Any

    @property
    def input_names(self) -> tuple[str, ...]:
        """The contract's fields that the graph reads."""
        return tuple(wanted.name for wanted in self.manifest.inputs)

    @property
    def window_names(self) -> tuple[str, ...]:
        """The names of the windows, which are inputs of the graph."""
        return self.windows.names


def digest_of(data: bytes) -> str:
    """The identity of a model."""
    return hashlib.sha256(data).hexdigest()


def open_model(data: bytes, *, digest: str | None = None) -> CompiledModel:
    """Verify a compiled model and make it ready to score. Raises ModelRefused naming why not."""
    found = digest_of(data)
    if digest is not None and found != digest:
        raise ModelRefused(
            f"the model's bytes have sha256 {found}, but {digest} was asked for:"
            f" they were altered or truncated ({len(data)} bytes)",
            next="lockstep models USE_CASE (shows each version's digest)",
        )
    proto = parse(data)
    check_structure(proto)
    about = {entry.key: entry.value for entry in proto.metadata_props}
    if MANIFEST_KEY not in about:
        raise ModelRefused(
            f"the ONNX file has no manifest ({MANIFEST_KEY} in its metadata):"
            " it was not compiled by Lockstep",
            next="lockstep train USE_CASE (trains, compiles and certifies)",
        )
    check_seal(data)
    manifest = decode(about[MANIFEST_KEY])
    try:
        contract = Contract.from_document(manifest.contract, where="the model's contract")
    except UsageError as error:
        raise ModelRefused(error.message) from None
    windows = check_windows(manifest, contract)
    session = open_session(data)
    _check_signature(session, manifest, contract)
    check_golden(session, manifest)
    return CompiledModel(data, found, manifest, contract, windows, session)


def _check_signature(session: Any, manifest: Manifest, contract: Contract) -> None:
    for wanted in manifest.inputs:
        field = contract.by_name.get(wanted.name)
        if field is None or GRAPH_TYPES[field.kind] != wanted.type:
            raise ModelRefused(
                f"the model reads {wanted.name!r} as {wanted.type},"
                f" but the contract {contract.name} has"
                f" {f'a {field.kind}' if field else 'no such field'}"
            )
    windows = [Input(window.name, "float32") for window in manifest.windows]
    expected = {w.name: (_ORT_TYPES[w.type], 1) for w in (*manifest.inputs, *windows)}
    _same("inputs", expected, {i.name: (i.type, len(i.shape)) for i in session.get_inputs()})
    outputs = dict.fromkeys(("score", "margin"), (_ORT_TYPES["float32"], 1))
    _same("outputs", outputs, {o.name: (o.type, len(o.shape)) for o in session.get_outputs()})


def _same(
    what: str, expected: Mapping[str, tuple[str, int]], found: Mapping[str, tuple[str, int]]
) -> None:
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise ModelRefused(
                f"the graph's {what} do not fit the manifest: {name!r} is"
                f" {_typed(found.get(name))} in the graph, {_typed(expected.get(name))} expected"
            )


def _typed(type: tuple[str, int] | None) -> str:
    return "absent" if type is None else f"{type[0]} of {type[1]} dimensions"
