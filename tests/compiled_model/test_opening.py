"""Opening a compiled model: whatever does not fit is refused, and named."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from lockstep.compiled_model import digest_of, open_model
from lockstep.compiled_model.manifest import MANIFEST_KEY
from lockstep.compiled_model.sealing import SEAL_KEY, seal
from lockstep.errors import ModelRefused
from tests.small_model import departures, small_booster, small_model

Change = Callable[[ModelProto], None]


def resealed(change: Change) -> bytes:
    """The small model, changed by someone who knows how to seal."""
    proto = onnx.load_from_string(small_model())
    kept = [entry for entry in proto.metadata_props if entry.key != SEAL_KEY]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    change(proto)
    return seal(proto.SerializeToString(deterministic=True))


def with_manifest(edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The small model with an edited manifest."""

    def change(proto: ModelProto) -> None:
        (entry,) = [e for e in proto.metadata_props if e.key == MANIFEST_KEY]
        manifest = json.loads(entry.value)
        edit(manifest)
        entry.value = json.dumps(manifest)

    return resealed(change)


def refusal(data: bytes, **given: str) -> str:
    with pytest.raises(ModelRefused) as refused:
        open_model(data, **given)
    return str(refused.value)


def test_a_whole_model_opens():
    data = small_model()
    model = open_model(data, digest=digest_of(data))
    assert model.digest == digest_of(data)
    assert model.data == data
    assert model.contract == departures()
    assert model.contract.arrow_schema == departures().arrow_schema
    assert model.window_names == ()
    assert "departed_at" in model.input_names
    assert "event_id" not in model.input_names
    assert {i.name for i in model.session.get_inputs()} == set(model.input_names)
    options = model.session.get_session_options()
    assert options.intra_op_num_threads == options.inter_op_num_threads == 1


def test_any_onnx_reader_can_read_it():
    proto = onnx.load_from_string(small_model())
    onnx.checker.check_model(proto)
    assert {entry.key for entry in proto.metadata_props} == {MANIFEST_KEY, SEAL_KEY}
    assert [output.name for output in proto.graph.output] == ["score", "margin"]


def test_another_digest_is_named():
    said = refusal(small_model(), digest="0" * 64)
    assert digest_of(small_model()) in said
    assert "0" * 64 in said


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_truncated_anywhere(data):
    whole = small_model()
    cut = data.draw(st.integers(0, len(whole) - 1))
    said = refusal(whole[:cut])
    assert "not a readable ONNX model" in said or "no manifest" in said or "truncated" in said


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_bit_flipped_anywhere(data):
    whole = bytearray(small_model())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    # Whatever the bit belonged to: it is refused with a reason, and nothing else is raised.
    assert refusal(bytes(whole))


def test_bytes_appended():
    assert "truncated, or was not compiled" in refusal(small_model() + b"\n\0")


@pytest.mark.parametrize("data", [b"", b"not a model", os.urandom(5_000), b"\0" * 100])
def test_something_else_altogether(data):
    said = refusal(data)
    assert "not a readable ONNX model" in said
    assert f"{len(data):,} bytes" in said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda: small_booster().save_raw("ubj"), "a booster as XGBoost saves it (UBJSON)"),
        (lambda: small_booster().save_raw("json"), "JSON text, such as a certificate"),
        (lambda: pickle.dumps({"a": 1}), "a Python pickle"),
        (lambda: gzip.compress(b"model"), "compressed with gzip"),
        (lambda: b"PK\x03\x04...", "a zip archive"),
        (lambda: b"", "it is empty"),
    ],
)
def test_a_file_that_is_taken_for_a_model_is_called_by_its_name(data, said):
    with pytest.raises(ModelRefused) as refused:
        open_model(bytes(data()))
    assert said in refused.value.message
    assert "name a compiled model" in str(refused.value.next)


def test_an_altered_leaf_is_noticed_without_knowing_the_digest():
    proto = onnx.load_from_string(small_model())
    _add_to_a_leaf(proto, 1.0)
    assert "was altered: its content has sha256" in refusal(proto.SerializeToString())


def _add_to_a_leaf(proto: ModelProto, amount: float) -> None:
    (trees,) = [node for node in proto.graph.node if node.op_type == "TreeEnsemble"]
    (weights,) = [a for a in trees.attribute if a.name == "leaf_weights"]
    values = onnx.numpy_helper.to_array(weights.t) + np.float32(amount)
    weights.t.CopyFrom(onnx.numpy_helper.from_array(values))


def test_golden_vectors_catch_other_trees_in_a_sealed_file():
    said = refusal(resealed(lambda proto: _add_to_a_leaf(proto, 1e-6)))
    assert "golden vector 0 does not reproduce: margin is" in said
    assert "recorded" in said


def test_golden_vectors_catch_another_score():
    def edit(manifest):
        manifest["golden"]["score"][3] = (0.999).hex()

    assert "golden vector 3 does not reproduce: score is" in refusal(with_manifest(edit))


def test_a_score_within_the_bound_is_in_order():
    def edit(manifest):
        score = float.fromhex(manifest["golden"]["score"][3])
        manifest["golden"]["score"][3] = (score + 1e-7).hex()

    open_model(with_manifest(edit))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda m: m["golden"]["columns"].pop("carrier"), "golden column 'carrier' has 0 rows"),
        (lambda m: m["golden"]["margin"].clear(), "golden column"),
        (lambda m: m["golden"]["score"].clear(), "golden answers"),
        (lambda m: m["golden"]["margin"].__setitem__(0, "x"), "golden answers cannot be read"),
        (lambda m: m["golden"]["columns"]["temp"].__setitem__(0, "x"), "golden column 'temp'"),
        (lambda m: m["golden"].__setitem__("windows", [["0x0p+0"]]), "golden window values"),
        (lambda m: m.__setitem__("format", 99), "manifest has format 99"),
        (lambda m: m.pop("estimator"), "manifest cannot be read: .*estimator"),
        (lambda m: m.__setitem__("surprise", 1), "manifest cannot be read: .*surprise"),
        (lambda m: m["contract"].pop("properties"), "'properties' is missing"),
        (
            lambda m: [
                m["contract"]["properties"].pop("dest"),
                m["contract"]["required"].remove("dest"),
            ],
            "reads 'dest' as string, but the contract .* no such field",
        ),
        (
            lambda m: m["contract"]["properties"].__setitem__(
                "distance", {"type": "integer", "minimum": 0, "maximum": 9}
            ),
            "reads 'distance' as float32, but the contract .* a integer",
        ),
        (lambda m: m["inputs"].pop(0), "inputs do not fit .* is .* in the graph, absent expected"),
        (
            lambda m: m["windows"].append(
                {
                    "name": "w",
                    "source": "s",
                    "by": ["k"],
                    "agg": "count",
                    "over": 2,
                    "hop": 1,
                    "scale": 0,
                }
            ),
            "window 'w' reads 's', which is none of the model's sources",
        ),
    ],
)
def test_a_manifest_that_does_not_fit(edit, said):
    with pytest.raises(ModelRefused, match=said):
        open_model(with_manifest(edit))


def test_without_manifest_or_seal():
    without = resealed(lambda proto: proto.metadata_props.pop())
    assert "has no manifest" in refusal(without)
    proto = onnx.load_from_string(small_model())
    proto.metadata_props.pop()
    assert "does not end with a seal" in refusal(proto.SerializeToString())


def test_any_other_onnx_model():
    node = helper.make_node("Identity", ["x"], ["y"])
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N"]) for n in "xy"]
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    assert "has no manifest" in refusal(helper.make_model(graph).SerializeToString())


def _foreign_node(proto: ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Evil", ["score"], ["z"], "n", domain="com.acme"))


def _foreign_import(proto: ModelProto) -> None:
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _foreign_node_in_a_branch(proto: ModelProto) -> None:
    inner = helper.make_node("Evil", [], ["z"], "n", domain="com.acme")
    branch = helper.make_graph([inner], "b", [], [])
    proto.graph.node.append(
        helper.make_node("If", ["c"], ["d"], "if", then_branch=branch, else_branch=branch)
    )


def _own_function(proto: ModelProto) -> None:
    body = helper.make_node("Identity", ["x"], ["y"])
    opset = [helper.make_opsetid("", 21)]
    proto.functions.append(helper.make_function("com.acme", "F", ["x"], ["y"], [body], opset))


def _training(proto: ModelProto) -> None:
    proto.training_info.add()


def _external(proto: ModelProto) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    proto.graph.initializer.append(tensor)


def _external_in_a_node(proto: ModelProto) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.external_data.add(key="location", value="elsewhere.bin")
    proto.graph.node.append(helper.make_node("Constant", [], ["k"], "constant", value=tensor))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_foreign_node, "operator Evil (node 'n') of the domain 'com.acme', which is not allowed"),
        (_foreign_node_in_a_branch, "operator Evil (node 'n') of the domain 'com.acme'"),
        (_foreign_import, "imports operators of the domain 'com.microsoft', which is not allowed"),
        (_own_function, "defines a function of its own, com.acme:F"),
        (_training, "carries training graphs"),
        (_external, "tensor 'w' keeps its data outside of the file (in '../../etc/passwd')"),
        (_external_in_a_node, "tensor 'w' keeps its data outside of the file"),
    ],
)
def test_what_it_may_not_be_made_of(change, said):
    """Named whether or not someone sealed it again."""
    assert said in refusal(resealed(change))
    proto = onnx.load_from_string(small_model())
    change(proto)
    assert said in refusal(proto.SerializeToString())


def test_a_graph_that_onnx_runtime_refuses():
    def change(proto: ModelProto) -> None:
        proto.graph.node[-1].op_type = "NoSuchOperator"

    assert "ONNX Runtime" in refusal(resealed(change))


def test_another_output():
    def change(proto: ModelProto) -> None:
        proto.graph.node.append(helper.make_node("Identity", ["margin"], ["extra"]))
        proto.graph.output.append(helper.make_tensor_value_info("extra", TensorProto.FLOAT, ["N"]))

    assert "outputs do not fit the manifest: 'extra'" in refusal(resealed(change))
