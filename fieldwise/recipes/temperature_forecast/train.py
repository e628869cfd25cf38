"""Hourly maps to a network that forecasts them: the verb train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Unpack

from fieldwise.verbs.options import TRAINING, Training, with_options


@with_options(Training, TRAINING, max_epochs=8, batch_size=2)
def train(
    *,
    data: Path = Path("data/temperature_forecast"),
    run: Path = Path("model/temperature_forecast"),
    experiment: str | None = None,
    target: str = "t2m",
    fields: list[str] | None = None,
    forcing: list[str] | None = None,
    context: int = 12,
    horizon: int = 12,
    stride: int = 2,
    network: str = "advection",
    padding: Literal["auto", "circular", "reflect", "zonal", "zeros"] = "auto",
    network_options: dict[str, Any] | None = None,
    loss: str | None = None,
    others_weight: float = 0.3,
    lead_power: float = 0.5,
    members: int | None = None,
    feedback: Literal["free", "scheduled"] | None = None,
    feedback_steps: float | None = None,
    kl_weight: float | None = None,
    discriminator: str | None = None,
    discriminator_options: dict[str, Any] | None = None,
    adversarial_weight: float | None = None,
    game: Literal["relativistic", "bce", "least_squares", "wasserstein"] | None = None,
    optimizer: str = "adam",
    optimizer_options: dict[str, Any] | None = None,
    learning_rate: float | None = None,
    weight_decay: float = 0.0,
    decay_epochs: int | None = None,
    warmup_steps: int | None = None,
    clip_norm: float = 1.0,
    **training: Unpack[Training],
) -> Path:
    """Train a network to forecast maps hour by hour; keep the weights that are best, and the last.

    What other programs write into files of their own is here: options and hyper-parameters in config.yaml,
    the split in the prepared folder's dataset.yaml, losses by epoch in logs/, times and versions in
    provenance.json, and results, by evaluate, in scores.json.

    Args:
        data: Prepared folder.
        run: Folder for checkpoints, logs, settings and figures. One that holds an unfinished run goes on.
        experiment: Name of an experiment, whose folder `<timestamp>_<user>_<experiment>` within `run` is
            taken instead: the latest of this name, or a new one where there is none or --resume is false.
        target: Field that is judged.
        fields: Fields that are read and forecast; by default the target, and of t850 and tcc those that the
            folder has.
        forcing: Fields that are read of the hours to come too; by default sunshine, where the folder has it.
        context: Hours that are read.
        horizon: Hours that are forecast.
        stride: Hours between the beginnings of two sequences to learn from.
        network: advection, daily_cycle, convlstm, predrnn, simvp, simvp_mixer, savp, vae, convlstm_gan,
            weatherbench, stochastic_advection, stochastic_convlstm, stochastic_simvp, or an import path.
            Options below that have no default are what suits a network, of published ones what their authors
            take.
        padding: What convolutions read beyond the edges; auto: `circular` of a world that goes on at its
            other side, otherwise `reflect`. `zonal` is for maps of the whole globe.
        network_options: Further arguments of the network, by name. Where days are alike but for the weather,
            as on land and sea, advection needs `{lag: 24, frames: 2}` and --context 26; daily_cycle, which a
            few weeks are enough for, needs --context 25. Where the wind may turn at certain hours,
            stochastic_advection draws which way with `{ways: 2}`.
        loss: mse, mae, an import path, or a sum such as mse+0.1*mae; of ensembles crps, difference_crps (of
            neighbouring cells) or proper_score. By default mse, and crps of ensembles.
        others_weight: Weight of the other fields beside the target in it.
        lead_power: Maps are divided by their hours ahead to this power before they are compared: with 0.5
            the first hours, whose errors are small, weigh as much as the last ones.
        members: Forecasts that a network with noise draws of each sequence in training, as an ensemble; by
            default 1, of the stochastic networks 2.
        feedback: Whether the network goes on from its own maps in training, `free`, or from true ones at
            first, of which ever fewer are shown, `scheduled`, as by default advection and savp.
        feedback_steps: k of that schedule: of k / (k + exp(step / k)) of the maps the truth is shown. By
            default 100, of savp 900: half of them at step k ln k, 461 or 6122. Where all steps are hardly
            more, as of a month of weather, take `free`.
        kl_weight: Weight of how far codes are from those that a forecast draws, of savp and vae.
        discriminator: Who tells forecasts from true sequences: none, sequence (of ConvLSTM-GAN), video, savp
            (two of the latter, with savp alone), or an import path.
        discriminator_options: Its further arguments, by name.
        adversarial_weight: Weight of its opinion.
        game: What is played against it.
        optimizer: adam, adamw or an import path.
        optimizer_options: Its further arguments, by name.
        learning_rate: Of the optimiser; by default 1e-3, of advection and daily_cycle 1e-2, of
            savp 2e-4.
        weight_decay: Of the optimiser.
        decay_epochs: Epochs in which the rate falls to nothing along half a cosine; 0: it stays. By default
            0, of advection, daily_cycle and savp all.
        warmup_steps: Steps in which it rises to what it is to be.
        clip_norm: Largest norm of the gradient; 0 for any.

    Returns:
        Path of the best checkpoint.
    """
    settings: dict[str, Any] = {k: value for k, value in locals().items() if k != "training"} | training
    from functools import partial

    from fieldwise.networks.imports import import_by_path
    from fieldwise.recipes.temperature_forecast.plan import check_settings, find_run
    from fieldwise.samples.sequences import make_sequence_loaders
    from fieldwise.verbs.train import train_run

    plan = check_settings(settings)
    order: Any = {"batch_size": training["batch_size"], "seed": training["seed"]}
    return train_run(
        partial(import_by_path(plan.kind), **plan.task),
        make_sequence_loaders(
            plan.learnt, plan.judged, plan.signature, plan.span, forcing=plan.settings["forcing"], **order
        ),
        plan.signature,
        run=find_run(Path(run), experiment, resume=training["resume"]),
        settings={name: value for name, value in plan.settings.items() if name not in training},
        monitor="val_error" if "discriminator" in plan.task else "val_loss",
        picture=draw_forecasts,
        sources=[Path(data) / "provenance.json"],
        **training,
    )


def draw_forecasts(task: Any, batch: Mapping[str, Any]) -> Any:
    """Draw forecasts of a batch: the target's last map that is read, and the last forecast beside the truth.

    >>> from types import SimpleNamespace
    >>> import torch
    >>> batch = {"inputs": torch.zeros(1, 3, 2, 4, 4), "targets": torch.ones(1, 5, 2, 4, 4)}
    >>> draw_forecasts(SimpleNamespace(draw=lambda part: part["targets"]), batch).shape[2]
    3
    """
    from types import SimpleNamespace

    from fieldwise.runs.pictures import draw_samples

    last = {name: batch[name][:, -1, :1] for name in ("inputs", "targets")}
    teller = SimpleNamespace(draw=lambda part: task.draw(part["whole"])[:, -1, :1])
    return draw_samples(teller, {**last, "whole": batch})
