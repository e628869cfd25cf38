# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
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
# The notebooks' paired scripts may hold examples too.

# %%
for script in sorted(Path().glob("*.py")):
    failures, examples = doctest.testfile(str(script.resolve()), module_relative=False)
    assert failures == 0, f"{script}: {failures} of {examples} examples failed"

# %% [markdown]
# ## Features

# %%
status = pytest.main(["-q", "-p", "no:cacheprovider", *features]) if features else 0
assert status == 0, f"pytest ended with status {status}"
