"""What a training says of itself: a bar in a terminal, a line an epoch on standard output."""

import io
import re
import sys

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from fieldwise.runs import fit, make_trainer

# Worked out by hand: training logs 3, 2, 1, 0; validation 0.5 (best), 0.25 (best), 0.75, 0.125 (best).
VALIDATION = [0.5, 0.25, 0.75, 0.125]


class Countdown(LightningModule):
    """Logs what is known beforehand, as the tasks do: one metric batch by batch, one when the epoch ends."""

    def __init__(self, fails_in=None):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.fails_in = fails_in

    def training_step(self, batch, batch_index):
        if self.current_epoch == self.fails_in:
            raise ValueError("no further")
        return self.layer(batch).sum()

    def on_train_epoch_end(self):
        self.log("loss", 3.0 - self.current_epoch)
        self.log("learning_rate", 0.1)

    def validation_step(self, batch, batch_index):
        self.log("val_loss", VALIDATION[self.current_epoch], prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(run, *, epochs, progress=True, task=None, **options):
    loader = torch.utils.data.DataLoader(torch.ones(6, 1), batch_size=2)
    trainer = make_trainer(
        run, max_epochs=epochs, monitor="val_loss", progress=progress, tracker="none", accelerator="cpu"
    )
    fit(trainer, task or Countdown(), loader, loader, **options)


def without_times(text):
    return re.sub(r"\d+\.\d s", "# s", text).splitlines()


LINES = [
    "epoch 1/4: loss 3, val_loss 0.5 (best), # s",
    "epoch 2/4: loss 2, val_loss 0.25 (best), # s",
    "epoch 3/4: loss 1, val_loss 0.75, # s",
    "epoch 4/4: loss 0, val_loss 0.125 (best), # s",
]


def test_an_epoch_is_one_line_and_a_log_file_gets_nothing_else(tmp_path, capsys):
    train(tmp_path, epochs=4)
    shown = capsys.readouterr()
    assert without_times(shown.out) == LINES
    assert "\r" not in shown.out + shown.err
    assert "epoch" not in shown.err.lower()
    assert "v_num" not in shown.out + shown.err


def test_a_terminal_shows_one_bar_that_is_overwritten(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)
    train(tmp_path, epochs=4)
    assert without_times(capsys.readouterr().out) == LINES
    bars = screen.getvalue()
    assert "epoch 1/4" in bars
    assert "/12" in bars  # 4 epochs of 3 batches
    assert "\n" not in bars
    assert "v_num" not in bars


def test_a_run_that_goes_on_remembers_what_was_best(tmp_path, capsys, monkeypatch):
    """The third epoch is no better than the second of the run before."""
    train(tmp_path, epochs=2)
    capsys.readouterr()
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    train(tmp_path, epochs=4, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert without_times(capsys.readouterr().out) == LINES[2:]
    assert "6/12" in screen.getvalue()


def test_silence_is_silence(tmp_path, capsys):
    train(tmp_path, epochs=1, progress=False)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_an_error_takes_the_bar_away(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with pytest.raises(ValueError, match="no further"):
        train(tmp_path, epochs=4, task=Countdown(fails_in=2))
    assert without_times(capsys.readouterr().out) == LINES[:2]
    assert screen.getvalue().endswith("\r")
    assert screen.getvalue().rstrip("\r").endswith(" ")


def test_a_run_that_goes_on_warns_of_nothing(tmp_path, recwarn):
    """The folder of checkpoints is there, because the run goes on."""
    train(tmp_path, epochs=1)
    recwarn.clear()
    train(tmp_path, epochs=2, ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert [str(warning.message) for warning in recwarn] == []
