"""Growth of cosmic structure: linear theory, perturbation theory, a particle mesh, and mass on a mesh."""
