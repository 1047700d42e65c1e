"""What a compiled model may be made of, checked on the protobuf before anything runs it."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from lockstep.errors import ModelRefused

__all__ = ["ALLOWED_DOMAINS", "check_structure", "parse"]

_COMPILE = "name a compiled model, a .onnx: lockstep train USE_CASE --output FILE.onnx makes one"
_OTHERS = {
    b"{L": "a booster as XGBoost saves it (UBJSON), which a compiled model is made of",
    b"{": "JSON text, such as a certificate or a booster",
    b"binf": "a booster in XGBoost's old binary format",
    b"\x80": "a Python pickle, which nothing here opens",
    b"PK\x03\x04": "a zip archive, such as PyTorch and Keras save",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "compressed with gzip",
    b"PAR1": "a Parquet file",
}
"""How files begin that are taken for models."""
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def parse(data: bytes) -> ModelProto:
    """Read the protobuf. Raises ModelRefused when it is none."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelRefused(_none(data, "it is truncated or corrupt"), next=_COMPILE) from None
    if not model.graph.node:
        raise ModelRefused(_none(data, "its graph has no nodes"), next=_COMPILE)
    return model


def _none(data: bytes, otherwise: str) -> str:
    """What a file is that is no ONNX model."""
    known = [what for begin, what in _OTHERS.items() if data.startswith(begin)]
    what = f"it is {known[0]}" if known else otherwise if data else "it is empty"
    return f"the file ({len(data):,} bytes) is not a readable ONNX model: {what}"


def check_structure(model: ModelProto) -> None:
    """Raises ModelRefused for an operator, function or tensor that may not be there."""
    for opset in model.opset_import:
        _check_domain(opset.domain, "it imports operators")
    for function in model.functions:
        raise ModelRefused(
            f"the model defines a function of its own, {function.domain}:{function.name};"
            " compiled models consist of standard operators only"
        )
    if model.training_info:
        raise ModelRefused("the model carries training graphs; a compiled model has none")
    for graph in _graphs(model.graph):
        for node in graph.node:
            _check_domain(node.domain, f"operator {node.op_type} (node {node.name!r})")
        for tensor in _tensors(graph):
            if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
                where = {entry.key: entry.value for entry in tensor.external_data}.get("location")
                raise ModelRefused(
                    f"tensor {tensor.name!r} keeps its data outside of the file (in {where!r});"
                    " a compiled model is one file"
                )


def _check_domain(domain: str, what: str) -> None:
    if domain not in ALLOWED_DOMAINS:
        raise ModelRefused(
            f"{what} of the domain {domain!r}, which is not allowed"
            f" (allowed: {', '.join(sorted(ALLOWED_DOMAINS - {''}))})"
        )


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _attribute_tensors(node)


def _attribute_tensors(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
