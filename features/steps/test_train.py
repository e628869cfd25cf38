"""Steps of train.feature."""

import pytest
import torch
import yaml
from pytest_bdd import given, parsers, scenarios, then, when

from fieldwise.errors import InputError
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.generator import BedTask
from fieldwise.runs import read_metrics
from fieldwise.tasks import load_checkpoint

scenarios("train.feature")


def weights_of(run):
    return load_checkpoint(run / "checkpoints" / "last.ckpt", BedTask).state_dict()


@given("a generator of 1 residual block, trained for 2 epochs with seed 7", target_fixture="run")
def _(trained_run, hyperparameters):
    assert [hyperparameters[name] for name in ("num_residual_blocks", "max_epochs", "seed")] == [1, 2, 7]
    return trained_run


@pytest.fixture
def train(dataset, hyperparameters, tmp_path):
    """Give a function that trains with the fixed hyper-parameters, but for those given."""

    def run(**changes):
        options = {"data": dataset.folder, "run": tmp_path / "another"} | hyperparameters | changes
        bed_topography.train(**options)
        return options["run"]

    return run


@when("I train once more with the same settings", target_fixture="other")
def _(train):
    return train()


@when("I train for 1 epoch only, and later go on to 2", target_fixture="other")
def _(train):
    train(max_epochs=1)
    return train()


@when(parsers.parse("I train for 1 epoch with {setting} = {value:g}"), target_fixture="other")
def _(train, setting, value):
    # without a discriminator, which takes most of the time and would not change what is told here
    first = train(max_epochs=1, adversarial_weight=0)
    value = int(value) if setting == "seed" else value
    second = train(max_epochs=1, adversarial_weight=0, run=first.with_name("second"), **{setting: value})
    return first, second


@when(parsers.parse("I train for 1 epoch on {inputs} alone"), target_fixture="other")
def _(train, inputs):
    return train(inputs=inputs.split(", "), max_epochs=1, adversarial_weight=0)


@when(parsers.parse("I try to train with {setting} = {value}"), target_fixture="complaint")
def _(train, setting, value, tmp_path):
    value = tmp_path / value if setting == "data" else int(value) if value.isdigit() else value
    with pytest.raises(InputError) as caught:
        train(**{setting: value})
    assert not list(tmp_path.rglob("*.ckpt"))
    return str(caught.value)


@when("I try to go on with another learning rate in the same folder", target_fixture="complaint")
def _(train, run):
    before = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    with pytest.raises(InputError) as caught:
        train(run=run, learning_rate=0.5, data=yaml.safe_load((run / "config.yaml").read_text())["data"])
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    return str(caught.value)


@then("the two networks have the same weights to the last bit")
def _(run, other):
    first, second = weights_of(run), weights_of(other)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


@then("the two networks differ")
def _(other):
    first, second = map(weights_of, other)
    assert any(not torch.equal(weight, second[name]) for name, weight in first.items())


@then(parsers.parse("its folder holds {names}"))
def _(run, names):
    for name in names.split(", "):
        assert (run / name).stat().st_size > 0, name


@then(parsers.parse("config.yaml says {settings}"))
def _(run, settings):
    config = yaml.safe_load((run / "config.yaml").read_text())
    expected = yaml.safe_load("{" + settings + "}")
    assert {name: config[name] for name in expected} == expected


@then(
    parsers.parse(
        "each of {count:d} epochs has a loss of the generator, a loss of the discriminator "
        "and a validation error"
    )
)
def _(run, count):
    by_epoch = read_metrics(run).groupby("epoch")[["loss_generator", "loss_discriminator", "val_rmse_m"]]
    assert by_epoch.count().to_numpy().tolist() == [[1, 1, 1]] * count


@then("the best weights are those of the epoch with the smallest validation error")
def _(run):
    errors = read_metrics(run).dropna(subset="val_rmse_m").set_index("epoch")["val_rmse_m"]
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True, mmap=True)
    assert best["epoch"] == errors.idxmin()


@then(parsers.parse("the checkpoint says that it takes {inputs}"))
def _(other, inputs):
    signature = load_checkpoint(other / "checkpoints" / "best.ckpt", BedTask).signature
    assert [entry["name"] for entry in signature["inputs"]] == inputs.split(", ")


@then("a map can be drawn with it")
def _(other, dataset, tmp_path):
    west, south, *_ = dataset.bounds
    out = bed_topography.predict(
        run=other,
        data=dataset.folder,
        out=tmp_path / "map.tif",
        bounds=(west, south, west + 5000, south + 4000),
        halo_cells=16,
        progress=False,
    )
    assert out.exists()
