"""From the lake to a certified model. Needs the `train` extra."""

from lockstep.training.definition import Definition, Label, Period

__all__ = ["Definition", "Label", "Period"]
