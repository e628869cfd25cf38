# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Tests, seen from Jupyter
#
# Every example in a docstring is a lesson and a test at once; every feature is a behaviour in plain
# language and a test at once. This notebook runs both, and the examples in the other notebooks' prose.

# %% tags=["parameters"]
modules = ["fieldwise"]  # packages or modules whose doctests run
features = ["features"]  # folders or files of features; an empty list runs none

# %%
import doctest
import importlib
import json
import pkgutil
from pathlib import Path

import pytest

# %% [markdown]
# ## Doctests of the package


# %%
def walk(name):
    """Yield a module and all the modules below it."""
    module = importlib.import_module(name)
    yield module
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


# %%
failed = attempted = 0
for name in modules:
    for module in walk(name):
        result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        failed, attempted = failed + result.failed, attempted + result.attempted
        print(f"{module.__name__:<40}{result.attempted:>4} examples, {result.failed} failed")
assert failed == 0, f"{failed} of {attempted} examples failed"

# %% [markdown]
# ## Doctests of the notebooks
#
# The prose of every notebook holds an example or more.

# %%
for path in sorted(set(Path().glob("*.ipynb")) - {Path("test_ipynb.ipynb")}):
    prose = [
        cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"
    ]
    text = "\n\n".join("".join(lines) for lines in prose)
    examples = doctest.DocTestParser().get_doctest(text, {}, str(path), str(path), 0)
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(examples)
    print(f"{path!s:<40}{result.attempted:>4} examples, {result.failed} failed")
    assert result.attempted > 0, f"{path}: its prose holds no example"
    assert result.failed == 0, f"{path}: {result.failed} of {result.attempted} examples failed"

# %% [markdown]
# ## Features

# %%
status = pytest.main(["-q", "-p", "no:cacheprovider", *features]) if features else 0
assert status == 0, f"pytest ended with status {status}"
