"""From the lake to a certified model. Needs the `train` extra."""

from lockstep.training.definition import Definition, Label, Period
from lockstep.training.weights import Weight

__all__ = ["Definition", "Label", "Period", "Weight"]
