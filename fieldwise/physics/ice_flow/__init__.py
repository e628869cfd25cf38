"""Blatter-Pattyn flow of ice: its energy as a differentiable function, and a solver that minimises it."""

from fieldwise.physics.ice_flow.blatter_pattyn import energy
from fieldwise.physics.ice_flow.profiles import find_ends, profile_mean, profile_nodes, profile_surface
from fieldwise.physics.ice_flow.solver import Flow, solve

__all__ = ["Flow", "energy", "find_ends", "profile_mean", "profile_nodes", "profile_surface", "solve"]
