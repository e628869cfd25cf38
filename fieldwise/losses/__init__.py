"""What drawn fields are held to, one module a kind: cells, structure, ensembles, an opponent's opinion."""
