"""Networks that tell which class each cell of a map belongs to, such as storms of the whole Earth."""
