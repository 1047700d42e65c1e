"""Two sets of scores of the same events, compared bit for bit."""

from lockstep.comparison.compare import Comparison, Difference, compare_day
from lockstep.comparison.render import as_document, render

__all__ = ["Comparison", "Difference", "as_document", "compare_day", "render"]
