"""Steps that several features share."""

import pytest
from pytest_bdd import given, parsers, then

from fieldwise.recipes.bed_topography.regions.region import open_region


@given("the sandbox, prepared", target_fixture="dataset")
def _(sandbox):
    return open_region(sandbox)


@pytest.fixture
def complaint():
    """What a user was told; set by the step that fails."""
    return ""


@then(parsers.parse('I am told "{message}"'))
def _(complaint, message):
    assert message in complaint
    assert "\n" not in complaint
