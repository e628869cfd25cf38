"""What TensorBoard and Comet keep of a run, read back by other means than it was written by."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from comet_server import serving
from lightning.pytorch import LightningModule
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.data import DataLoader

from fieldwise.errors import InputError
from fieldwise.runs import close_trackers, fetch_run, make_trainer, read_metrics
from fieldwise.runs.loggers import RecordRun

KEY = "sEcReTkEy0123456789aBcDeFgHiJkLm"
SETTINGS = {"learning_rate": 0.25, "augment": "none", "inputs": None, "run": Path("model")}
ERRORS = [5.0, 3.0, 4.0, 2.0]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Whoever runs these tests may have a key; they do without."""
    monkeypatch.delenv("COMET_API_KEY", raising=False)


class Sloping(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Linear(2, 1)

    def forward(self, inputs):
        return self.slope(inputs["surface"])


class Task(LightningModule):
    """Learns at random, and follows a script of validation errors."""

    def __init__(self, *, fail_in=None):
        super().__init__()
        self.network, self.fail_in = Sloping(), fail_in

    def training_step(self, batch, index):
        return self.network(batch["inputs"]).mean() * torch.rand(())

    def on_train_epoch_start(self):
        if self.current_epoch == self.fail_in:
            raise RuntimeError("the power went off")

    def validation_step(self, batch, index):
        self.log("val_rmse_m", ERRORS[self.current_epoch])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def paint(task, batch):
    """Draw a picture of one colour an epoch."""
    return np.full((6, 8, 3), 10 * task.current_epoch + len(batch["inputs"]["surface"]), dtype=np.uint8)


def fit(run, *, tracker, max_epochs=2, fail_in=None):
    torch.manual_seed(3)
    trainer = make_trainer(
        run,
        max_epochs=max_epochs,
        monitor="val_rmse_m",
        accelerator="cpu",
        progress=False,
        tracker=tracker,
        callbacks=[RecordRun(SETTINGS, picture=paint)],
    )
    batches = DataLoader([{"inputs": {"surface": torch.ones(3, 2)}}] * 2, batch_size=None)
    task = Task(fail_in=fail_in)
    last = run / "checkpoints" / "last.ckpt"
    trainer.fit(task, batches, batches, ckpt_path=last if last.exists() else None, weights_only=True)
    (run / "config.yaml").write_text("seed: 3\n")
    Image.new("RGB", (5, 4), (1, 2, 3)).save(run / "curves.png")
    close_trackers(trainer, SETTINGS, [run / "curves.png"])
    return task


def weights_of(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def picture_of(content):
    return np.asarray(Image.open(io.BytesIO(content)))


# --- TensorBoard --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    run = tmp_path_factory.mktemp("board")
    fit(run, tracker="tensorboard")
    read = EventAccumulator(str(run / "logs" / "tensorboard"), size_guidance={"images": 0})
    return read.Reload()


def test_tensorboard_has_the_metrics(board):
    assert [scalar.value for scalar in board.Scalars("val_rmse_m")] == ERRORS[:2]
    assert [scalar.value for scalar in board.Scalars("best_val_rmse_m")] == [3.0]


def test_tensorboard_has_the_parameters(board):
    content = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["learning_rate"].number_value == 0.25
    assert told["augment"].string_value == "none"
    assert told["run"].string_value == "model"


def test_tensorboard_has_a_picture_an_epoch_and_the_figures(board):
    pictures = board.Images("validation_tiles")
    assert [picture.step for picture in pictures] == [0, 1]
    colours = [np.unique(picture_of(picture.encoded_image_string)).tolist() for picture in pictures]
    assert colours == [[3], [13]]
    (figure,) = board.Images("curves")
    assert picture_of(figure.encoded_image_string).shape == (4, 5, 3)


def test_tensorboard_has_the_graph(board):
    names = [node.name for node in board.Graph().node]
    assert any("Linear[slope]" in name for name in names), names


def test_no_tracker_leaves_metrics_alone(tmp_path):
    fit(tmp_path, tracker="none")
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["part_0"]
    assert read_metrics(tmp_path)["val_rmse_m"].dropna().tolist() == ERRORS[:2]


def test_what_is_tracked_changes_no_run(tmp_path):
    """The task draws random numbers: a tracker that drew some too would shift them."""
    one, other = (
        fit(tmp_path / tracker, tracker=tracker).state_dict() for tracker in ("none", "tensorboard")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["network.slope.weight"], Task().state_dict()["network.slope.weight"])


# --- Comet, as an archive -----------------------------------------------------------------------


def read_archive(path):
    """Read an archive as Comet lays it out: messages line by line, files beside them."""
    with zipfile.ZipFile(path) as opened:
        messages = [json.loads(line) for line in opened.read("messages.json").splitlines()]
        told = {"files": {}, "images": {}, "parameters": {}, "metrics": [], "graph": None}
        for message in messages:
            kind, payload = message["type"], message["payload"]
            if kind == "parameter_msg":
                told["parameters"][payload["param"]["paramName"]] = payload["param"]["paramValue"]
            elif kind == "metric_msg":
                told["metrics"].append(payload["metric"])
            elif kind == "graph":
                told["graph"] = payload["graph"]
            elif kind == "file_upload":
                extra, content = payload["additional_params"], opened.read(payload["file_path"])
                if "fileName" in extra:
                    told["files"][extra["fileName"]] = content
                else:
                    told["images"][extra["figName"], extra["step"]] = content
    return told


def errors_of(metrics):
    """Give epochs and validation errors."""
    return [(one["epoch"], one["metricValue"]) for one in metrics if one["metricName"] == "val_rmse_m"]


def archives_of(run):
    return sorted((run / "logs" / "comet").glob("*.zip"))


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COMET_API_KEY", raising=False)
        run = tmp_path_factory.mktemp("archived")
        fit(run, tracker="comet")
    return run


def test_archive_has_it_all(archived):
    (path,) = archives_of(archived)
    told = read_archive(path)
    assert {"learning_rate": 0.25, "augment": "none", "run": "model"}.items() <= told["parameters"].items()
    assert errors_of(told["metrics"]) == [(0, 5.0), (1, 3.0)]
    assert "(slope): Linear(in_features=2, out_features=1" in told["graph"]
    assert np.unique(picture_of(told["images"]["validation_tiles.png", 1])).tolist() == [13]
    assert any(name == "curves.png" for name, _ in told["images"])
    names = ["checkpoints/best.ckpt", "checkpoints/last.ckpt", "config.yaml", "logs/part_0/metrics.csv"]
    assert sorted(told["files"]) == names
    for name in names:
        assert told["files"][name] == (archived / name).read_bytes()


def test_weights_come_back_from_an_archive_and_training_goes_on(archived, tmp_path):
    run = fetch_run(experiment=str(archives_of(archived)[0]), run=tmp_path / "fetched")
    for name in ("best", "last"):
        fetched, original = weights_of(run, name), weights_of(archived, name)
        assert all(torch.equal(fetched[key], original[key]) for key in original)
    fit(run, tracker="none", max_epochs=4)
    assert read_metrics(run).dropna(subset="val_rmse_m")["epoch"].tolist() == [0, 1, 2, 3]
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 3


def test_the_best_weights_stay_so_in_another_folder(archived, tmp_path):
    """Epoch 2 is worse than epoch 1, which was trained elsewhere."""
    run = fetch_run(experiment=str(archives_of(archived)[0]), run=tmp_path / "fetched")
    fit(run, tracker="none", max_epochs=3)
    epochs = [
        torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"]
        for name in ("best", "last")
    ]
    assert epochs == [1, 2]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_fetching_leaves_weights_alone(archived):
    before = (archived / "checkpoints" / "best.ckpt").read_bytes()
    with pytest.raises(InputError, match="already holds weights; choose another --run"):
        fetch_run(experiment=str(archives_of(archived)[0]), run=archived)
    assert (archived / "checkpoints" / "best.ckpt").read_bytes() == before


def test_a_run_that_goes_on_is_one_experiment(tmp_path):
    fit(tmp_path, tracker="comet")
    fit(tmp_path, tracker="comet", max_epochs=3)
    one, other = (json.loads(zipfile.ZipFile(path).read("experiment.json")) for path in archives_of(tmp_path))
    assert one["offline_id"] == other["offline_id"]


@pytest.mark.parametrize("content", ["{", "[]", '{"experiment": 3}', '{"experiment": "x"}'])
def test_a_note_that_names_no_experiment(tmp_path, content):
    note = tmp_path / "logs" / "comet" / "experiment.json"
    note.parent.mkdir(parents=True)
    note.write_text(content)
    with pytest.raises(InputError, match=r"experiment\.json: names no experiment to go on with; delete it"):
        fit(tmp_path, tracker="comet")


def test_a_run_that_is_cut_off_keeps_its_weights(tmp_path):
    with pytest.raises(RuntimeError, match="the power went off"):
        fit(tmp_path, tracker="comet", max_epochs=4, fail_in=2)
    (path,) = archives_of(tmp_path)
    content = io.BytesIO(read_archive(path)["files"]["checkpoints/last.ckpt"])
    assert torch.load(content, weights_only=True)["epoch"] == 1


def spoil(path, kind, archived):
    """Write what is no archive of a run."""
    whole = archives_of(archived)[0].read_bytes()
    if kind == "text":
        path.write_text("weights: 1 2 3\n")
    elif kind == "cut in half":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "damaged":
        largest = max(zipfile.ZipFile(archives_of(archived)[0]).infolist(), key=lambda one: one.compress_size)
        middle = largest.header_offset + largest.compress_size // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    elif kind == "of other things":
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr("note.txt", "hello")
    elif kind == "without weights":
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr("messages.json", "")
    elif kind == "escaping":
        upload = {"additional_params": {"fileName": "../../checkpoints/best.ckpt"}, "file_path": "a"}
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr("messages.json", json.dumps({"type": "file_upload", "payload": upload}))
            opened.writestr("a", "weights")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "is no archive of an experiment"),
        ("cut in half", "is no archive of an experiment"),
        ("damaged", "is no archive of an experiment|is damaged or missing"),
        ("of other things", "is no archive of an experiment"),
        ("without weights", "holds no weights of a run"),
        ("escaping", "holds no weights of a run"),
        ("missing", "no such archive"),
    ],
)
def test_what_is_no_archive(archived, tmp_path, kind, message):
    path, run = tmp_path / "deep" / "down" / "experiment.zip", tmp_path / "deep" / "down" / "run"
    path.parent.mkdir(parents=True)
    spoil(path, kind, archived)
    with pytest.raises(InputError, match=message) as caught:
        fetch_run(experiment=str(path), run=run)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.ckpt"))


# --- Comet, online: a server on the loopback -----------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    with serving(KEY) as running:
        monkeypatch.setenv("COMET_URL_OVERRIDE", running.url)
        monkeypatch.setenv("COMET_API_KEY", KEY)
        yield running


def test_server_gets_it_all_and_gives_the_weights_back(server, tmp_path, monkeypatch, capsys):
    fit(tmp_path / "run", tracker="comet")
    experiment = server.experiments[-1]
    assert f"comet: experiment {experiment}, at http://127.0.0.1" in capsys.readouterr().out
    assert server.parameters["learning_rate"] == 0.25
    assert errors_of(server.metrics) == [(0, 5.0), (1, 3.0)]
    assert "(slope): Linear" in server.graphs[-1]
    pictures = [picture_of(content) for name, content in server.images if name == "validation_tiles.png"]
    assert [np.unique(picture).tolist() for picture in pictures] == [[3], [13]]
    assert not archives_of(tmp_path / "run")

    fetched = fetch_run(experiment=experiment, run=tmp_path / "fetched")
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "config.yaml"):
        assert (fetched / name).read_bytes() == (tmp_path / "run" / name).read_bytes()

    fit(tmp_path / "run", tracker="comet", max_epochs=3)  # goes on as the same experiment
    assert set(server.experiments) == {experiment}

    monkeypatch.delenv("COMET_API_KEY")
    with pytest.raises(InputError, match="COMET_API_KEY is not in the environment; set it to fetch"):
        fetch_run(experiment=experiment, run=tmp_path / "other")


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("0" * 32, "Comet does not give it .*no such experiment"),
        ("../../etc", "is no key of an experiment and no .zip archive"),
    ],
)
def test_experiments_that_cannot_be_had(server, tmp_path, experiment, message):
    with pytest.raises(InputError, match=message) as caught:
        fetch_run(experiment=experiment, run=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_download_that_breaks_off_leaves_nothing(server, tmp_path, monkeypatch):
    server.experiments.append("e" * 32)
    server.assets["a"] = "checkpoints/best.ckpt", b"weights"
    monkeypatch.setattr(server, "cut_to", 3)
    with pytest.raises(InputError, match="Comet does not give it"):
        fetch_run(experiment="e" * 32, run=tmp_path / "run")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_key_that_is_refused_is_not_told(server, tmp_path, monkeypatch, capfd):
    """Comet's client itself would log it; the run is kept as an archive instead."""
    wrong = KEY[::-1]
    monkeypatch.setenv("COMET_API_KEY", wrong)
    fit(tmp_path, tracker="comet")
    assert wrong in server.keys_seen
    with pytest.raises(InputError, match="check the key and the connection") as caught:
        fetch_run(experiment="0" * 32, run=tmp_path / "other")
    printed = capfd.readouterr()
    told = printed.out + printed.err + str(caught.value)
    assert "The given API key '(key)' is invalid" in told
    assert wrong not in told
    assert len(archives_of(tmp_path)) == 1
