def evaluate():
    "x"
