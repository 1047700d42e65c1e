"""Adapters of the frameworks that models are trained in."""
