"""Open the scorer of a compiled model: with the fastest kernel for its trees that can be trusted.

1. Cut the graph before and behind its tree ensemble. A model without one, or with trees that no
   kernel can answer exactly, stays with ONNX Runtime.
2. Make the kernel, or the next one where this host does not allow it.
3. Compare it with ONNX Runtime, bit for bit (`self_check`).
4. Any difference: ONNX Runtime scores, and the scorer's `engine` says why.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.parts import cut_at_trees
from lockstep.errors import ModelRefused
from lockstep.scoring.row_features import RowFeatures
from lockstep.scoring.scorer import DISTRUSTED_NEXT, Engine, OnnxScorer, Scorer
from lockstep.scoring.self_check import what_differs
from lockstep.scoring.tree_scorer import TreeScorer
from lockstep.scoring.trees.choice import CANDIDATES, MAKERS, smallest_batch
from lockstep.scoring.trees.kernel import KernelUnavailable
from lockstep.scoring.trees.layout import lay_out
from lockstep.scoring.trees.tables import NotForKernels, read_trees

if TYPE_CHECKING:
    from lockstep.settings import TreeKernel

__all__ = ["open_scorer"]

log = logging.getLogger("lockstep.scoring")


def open_scorer(model: CompiledModel, kernel: TreeKernel = "auto") -> Scorer:
    """A scorer for `model`, with the kernel that LOCKSTEP_TREE_KERNEL asks for or allows."""
    if not CANDIDATES[kernel]:
        return OnnxScorer(model)
    try:
        parts = cut_at_trees(model)
        trees = read_trees(parts.node)
        layout = lay_out(trees, len(model.manifest.features))
        features = RowFeatures(model, layout.reads.tolist())
    except (NotForKernels, ModelRefused) as why:
        log.info("model %s: ONNX Runtime evaluates the trees: %s", model.digest[:12], why)
        return OnnxScorer(model, Engine("onnxruntime", str(why)))
    except Exception as error:
        # What makes scoring faster never keeps anybody from scoring.
        log.exception(
            "model %s could not be cut: ONNX Runtime evaluates it. %s",
            *(model.digest[:12], DISTRUSTED_NEXT),
        )
        failed = f"the cut failed: {type(error).__name__}: {error}"
        return OnnxScorer(model, Engine("onnxruntime", failed, distrusted=True))
    unavailable = None
    for name in CANDIDATES[kernel]:
        try:
            made = MAKERS[name](layout)
            least = smallest_batch(name, len(layout.leaf))
            scorer = TreeScorer(model, parts, features, layout, made, least, unavailable)
            wrong = what_differs(scorer, model, parts, trees)
        except KernelUnavailable as why:
            unavailable = str(why)
            # Whoever asked for it by name is told louder.
            level = logging.INFO if kernel == "auto" else logging.WARNING
            log.log(level, "the %s tree kernel cannot run here: %s", name, why)
            continue
        except Exception as error:
            log.exception("the tree kernel failed")
            wrong = f"failed: {type(error).__name__}: {error}"
        if wrong is None:
            return scorer
        why_not = f"the {name} kernel {wrong}"
        log.warning(
            "model %s: ONNX Runtime evaluates the trees, because %s. %s",
            *(model.digest[:12], why_not, DISTRUSTED_NEXT),
        )
        return OnnxScorer(model, Engine("onnxruntime", why_not, distrusted=True))
    return OnnxScorer(model, Engine("onnxruntime", unavailable))
