"""Convolutions other than the plain ones: deformable, and those that give the same sooner."""
