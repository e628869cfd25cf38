"""Scripts that run the verbs of a recipe one after the other: of a plain shell, or for SLURM."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from fieldwise.drafts import check_plain_name, replace_together
from fieldwise.errors import InputError, require_at_least
from fieldwise.recipes import load_recipe, load_verb

STEPS = ("prepare", "train", "predict", "evaluate")
GIVEN = ("source", "data", "run", "prediction")  # said once, for all steps
WRITTEN = {"prepare": "data", "predict": "prediction"}  # by steps that have an --out
ON_GPU = ("train", "predict")
TIME = re.compile(r"(\d+-)?\d{1,2}:\d\d:\d\d")
MEMORY = re.compile(r"\d+[KMGT]?")
QUESTIONS = {
    "recipe": "recipe, or the path of your own",
    "source": "what is prepared: sandbox, or a FILE.yaml",
    "data": "prepared folder",
    "run": "run folder",
    "scheduler": "none for plain shell scripts, or slurm",
    "options": "further options of the steps, such as train.max_epochs=20 predict.members=16",
}


def write_scripts(
    *,
    recipe: str | None = None,
    out: Path = Path("scripts"),
    scheduler: Literal["none", "slurm"] = "none",
    steps: list[str] | None = None,
    source: str = "sandbox",
    data: Path | None = None,
    run: Path | None = None,
    prediction: Path | None = None,
    options: list[str] | None = None,
    environment: Path | None = None,
    time: str = "04:00:00",
    partition: str | None = None,
    account: str | None = None,
    gpus: int = 1,
    cpus: int = 8,
    memory: str = "64G",
    ask: bool = False,
) -> list[Path]:
    """Write a script for each step, and `run_all.sh`, which runs or submits them in their order.

    Args:
        recipe: Whose steps they are: a name, or the path of your own.
        out: Folder to write.
        scheduler: none for plain shell scripts; slurm for scripts that sbatch takes, each of which waits for
            the one before.
        steps: Verbs in their order; by default prepare, train, predict and evaluate.
        source: What prepare reads: sandbox, or a FILE.yaml.
        data: Prepared folder; by default data/RECIPE.
        run: Run folder; by default model/RECIPE.
        prediction: What predict writes and evaluate reads; by default the folder `prediction` of the run.
        options: Further options of the steps, such as train.max_epochs=20 predict.members=16.
        environment: Virtual environment to run in, such as .venv.
        time: Longest time of a step on a cluster, HH:MM:SS or D-HH:MM:SS.
        partition: Of the cluster.
        account: That is charged.
        gpus: That training runs on; prediction takes one of them. 0 for none.
        cpus: Cores of a task.
        memory: Of a node, such as 64G.
        ask: Whether to ask for the main choices in the terminal; an empty answer takes what is in brackets.

    Returns:
        The scripts.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> paths = write_scripts(recipe="ice_flow", out=folder, steps=["train"], options=["train.seed=3"])
    /...1_train.sh
    /...run_all.sh
    >>> print(paths[0].read_text().splitlines()[-1])
    fieldwise ice_flow train --data data/ice_flow --run model/ice_flow --seed 3
    """
    asked = {"recipe": recipe, "source": source, "data": data, "run": run, "scheduler": scheduler}
    if ask:
        asked, options = _ask(asked, options)
    if not asked["recipe"]:
        raise InputError("--recipe: is missing; name one, or give --ask true")
    if asked["scheduler"] not in ("none", "slurm"):
        raise InputError(f"--scheduler: is {asked['scheduler']!r}; give none or slurm")
    require_at_least(1, cpus=cpus)
    require_at_least(0, gpus=gpus)
    loaded = load_recipe(str(asked["recipe"]))
    name = check_plain_name(loaded.__name__.rpartition(".")[2], "--recipe", kind="folder")
    home = Path(asked["run"] or f"model/{name}")
    paths = {
        "source": str(asked["source"]),
        "data": str(asked["data"] or f"data/{name}"),
        "run": str(home),
        "prediction": str(prediction or home / "prediction"),
    }
    commands = list_commands(loaded, str(asked["recipe"]), list(steps or STEPS), paths, options or [])
    if asked["scheduler"] == "none":
        return _write(Path(out), commands, [], environment)
    wanted = {"time": (time, TIME, "HH:MM:SS or D-HH:MM:SS"), "memory": (memory, MEMORY, "such as 64G")}
    for option, (value, pattern, form) in wanted.items():
        if not pattern.fullmatch(value):
            raise InputError(f"--{option}: is {value!r}; give {form}")
    head = {"time": time, "partition": partition, "account": account, "cpus-per-task": cpus, "mem": memory}
    for option in ("partition", "account"):
        if head[option] is not None:
            check_plain_name(head[option], f"--{option}", kind="job")
    directives = [f"#SBATCH --{key}={value}" for key, value in head.items() if value is not None]
    return _write(Path(out), commands, directives, environment, gpus=gpus)


def list_commands(
    recipe: Any, word: str, steps: Sequence[str], paths: Mapping[str, str], options: Sequence[str]
) -> dict[str, list[str]]:
    """Give the words of each step's command.

    Parameters
    ----------
    recipe, word
        As it is loaded, and as the command line calls it.
    steps
        Verbs in their order.
    paths
        source, data, run and prediction.
    options
        STEP.OPTION=VALUE.

    Raises
    ------
    InputError
        Naming a verb that the recipe lacks, or an option that a verb does not take.

    >>> paths = {"source": "sandbox", "data": "d", "run": "r", "prediction": "r/p"}
    >>> list_commands(load_recipe("ice_flow"), "ice_flow", ["predict"], paths, ["predict.split=validation"])
    {'predict': ['fieldwise', 'ice_flow', 'predict', '--data', 'd', '--run', 'r', '--out', 'r/p', ...
    """
    further = _split_options(options, steps)
    commands = {}
    for step in steps:
        verb = load_verb(recipe, step)
        known = inspect.signature(verb).parameters
        filled = {key: paths[key] for key in GIVEN if key in known}
        if step in WRITTEN:
            filled["out"] = paths[WRITTEN[step]]
        unknown = [key for key in further[step] if key.partition(".")[0] not in known]
        if unknown:
            raise InputError(
                f"--options: {step} takes no {', '.join(unknown)}; see `fieldwise {word} {step} --help`"
            )
        words = ["fieldwise", word, step]
        for key, value in {**filled, **further[step]}.items():
            words += [f"--{key}", *shlex.split(value)]
        commands[step] = words
    return commands


def _split_options(options: Sequence[str], steps: Sequence[str]) -> dict[str, dict[str, str]]:
    apart: dict[str, dict[str, str]] = {step: {} for step in steps}
    for text in options:
        place, sign, value = text.partition("=")
        step, dot, option = place.partition(".")
        if not (sign and dot and option) or step not in apart:
            raise InputError(
                f"--options: {text!r} should be STEP.OPTION=VALUE, such as train.max_epochs=20; the steps "
                f"are {', '.join(steps)}"
            )
        apart[step][option] = value
    return apart


def _ask(asked: Mapping[str, Any], options: list[str] | None) -> tuple[dict[str, Any], list[str]]:
    """Ask in the terminal; what is answered with nothing stays."""
    answers: dict[str, Any] = {}
    for key, known in {**asked, "options": shlex.join(options or [])}.items():
        shown = f" [{known}]" if known else ""
        answers[key] = input(f"{QUESTIONS[key]}{shown}: ").strip() or known
    return answers, shlex.split(answers.pop("options") or "")


def _write(
    out: Path,
    commands: Mapping[str, list[str]],
    directives: Sequence[str],
    environment: Path | None,
    *,
    gpus: int = 0,
) -> list[Path]:
    """Write the scripts together; one that is cut off leaves none."""
    names = [f"{number}_{step}.sh" for number, step in enumerate(commands, 1)]
    texts = {}
    for name, (step, words) in zip(names, commands.items()):
        head = [*_describe_job(step, gpus), *directives] if directives else []
        launch = "srun " if directives and step == "train" else ""
        texts[name] = _script(head, environment, [launch + shlex.join(words)])
    last = "run_all.sh"
    texts[last] = _script([], None, _chain(names, slurm=bool(directives)))
    with replace_together(out, last=last) as draft:
        for name, text in texts.items():
            (draft / name).write_text(text)
            (draft / name).chmod(0o755)
    print("\n".join(str(out / name) for name in texts))
    return [out / name for name in texts]


def _describe_job(step: str, gpus: int) -> list[str]:
    """Say what a step is called, and what it takes of a node; each GPU that trains has a process.

    >>> _describe_job("train", 4)[2:]
    ['#SBATCH --nodes=1', '#SBATCH --ntasks-per-node=4', '#SBATCH --gres=gpu:4']
    """
    used = (gpus if step == "train" else min(gpus, 1)) if step in ON_GPU else 0
    names = [f"#SBATCH --job-name={step}", "#SBATCH --output=%x-%j.log", "#SBATCH --nodes=1"]
    return [*names, f"#SBATCH --ntasks-per-node={max(used, 1)}", *[f"#SBATCH --gres=gpu:{used}"][: used > 0]]


def _chain(names: Sequence[str], *, slurm: bool) -> list[str]:
    """Run the scripts in their order, or submit each so that it waits for the one before."""
    here = 'here="$(dirname "${BASH_SOURCE[0]}")"'
    if not slurm:
        return [here, *(f'"$here/{name}"' for name in names)]
    lines = [here, f'job="$(sbatch --parsable "$here/{names[0]}")"']
    for name in names[1:]:
        lines.append(f'job="$(sbatch --parsable --dependency="afterok:${{job%%;*}}" "$here/{name}")"')
    return [*lines, 'echo "last job: $job"']


def _script(directives: Sequence[str], environment: Path | None, lines: Sequence[str]) -> str:
    """Join the lines of a script that stops at the first error.

    >>> print(_script(["#SBATCH --nodes=1"], Path(".venv"), ["fieldwise --version"]), end="")
    #!/usr/bin/env bash
    #SBATCH --nodes=1
    set -euo pipefail
    source .venv/bin/activate
    fieldwise --version
    """
    entered = [] if environment is None else [f"source {shlex.quote(str(environment))}/bin/activate"]
    return "\n".join(["#!/usr/bin/env bash", *directives, "set -euo pipefail", *entered, *lines, ""])
