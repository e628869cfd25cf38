"""Applications: each chooses its variables, spacings and hyper-parameters, and has four verbs."""
