"""Lockstep: one compiled model, scored by batch and by stream with the same bits."""

__all__ = ["__version__"]

__version__ = "0.1.0"
