"""Tables come out as Markdown, LaTeX and CSV, and say what the run and the list of data say."""

import io
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from fieldwise.downloads.sources import read_data_list
from fieldwise.errors import InputError
from fieldwise.figures import save_table
from fieldwise.figures.tables import escape_latex, to_latex, to_markdown
from fieldwise.recipes import bed_topography
from fieldwise.recipes.bed_topography.tables import save_tables, tabulate_errors
from fieldwise.scores import make_score
from fieldwise.verbs.options import tabulate_hyperparameters

TABLE = pd.DataFrame({"Region": ["A & B", "C|D_e"], "RMSE (m)": [51.0, np.nan], "Picks": [3, 40]})


def cells_of(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if "--" not in line
    ]


def test_csv_comes_back_as_it_was(tmp_path):
    paths = save_table(TABLE, tmp_path / "new" / "scores", caption="Errors.", label="scores")
    assert [path.name for path in paths] == ["scores.md", "scores.tex", "scores.csv"]
    pd.testing.assert_frame_equal(pd.read_csv(paths[2]), TABLE)


def test_markdown_keeps_its_columns():
    markdown = to_markdown(TABLE, caption="Errors.", digits=1)
    assert cells_of(markdown) == [
        ["Region", "RMSE (m)", "Picks"],
        ["A & B", "51.0", "3"],
        [r"C\|D_e", "", "40"],
    ]
    assert "|---|--:|--:|" in markdown
    assert markdown.startswith("Errors.\n")


def test_latex_is_balanced_and_escaped():
    latex = to_latex(TABLE, caption="100 % of errors", label="scores")
    assert r"A \& B & 51 & 3 \\" in latex
    assert r"C|D\_e &  & 40 \\" in latex
    assert r"\caption{100 \% of errors}" in latex
    assert r"\begin{tabular}{lrr}" in latex
    for name in ("table", "tabular"):
        assert latex.count(rf"\begin{{{name}}}") == latex.count(rf"\end{{{name}}}") == 1


def test_long_texts_share_the_page():
    table = pd.DataFrame({"Name": ["short"], "Meaning": ["word " * 30]})
    latex = to_latex(table, caption="Meanings.", label="meanings")
    shares = [float(share) for share in re.findall(r"p\{([\d.]+)\\textwidth\}", latex)]
    # The second is longer than the 45 letters that count at most, the first 5: nine times as wide.
    assert shares[1] / shares[0] == pytest.approx(9, rel=0.02)
    assert sum(shares) < 1
    assert r"\begin{table*}" in latex
    assert r"\end{table*}" in latex


@pytest.mark.parametrize("character", "&%$#_{}~^\\")
def test_no_character_of_latex_is_left_bare(character):
    escaped = escape_latex(f"a{character}b")
    assert escaped.startswith("a\\")
    assert escaped != f"a\\{character}b" or character in "&%$#_{}"


def test_addresses_are_links():
    table = pd.DataFrame({"Data": ["https://doi.org/10.5285/59e5_a6f5"]})
    assert "[10.5285/59e5_a6f5](https://doi.org/10.5285/59e5_a6f5)" in to_markdown(table)
    expected = r"\href{https://doi.org/10.5285/59e5_a6f5}{\nolinkurl{10.5285/59e5_a6f5}}"
    assert expected in to_latex(table, caption="", label="data")


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(InputError, match="no rows"):
        save_table(TABLE[:0], tmp_path / "none", caption="Nothing.", label="none")
    assert not list(tmp_path.iterdir())


def test_hyperparameters_are_those_of_the_run(trained_run, hyperparameters):
    table = tabulate_hyperparameters(trained_run, bed_topography.train, monitor="val_rmse_m").set_index(
        "Hyper-parameter"
    )
    config = yaml.safe_load((trained_run / "config.yaml").read_text())
    assert table.loc["Learning rate", "Value"] == "0.001"
    assert table.loc["Number of residual blocks", "Value"] == str(config["num_residual_blocks"]) == "1"
    assert table.loc["Residual scaling", "Value"] == "0.2"
    assert table.loc["Batch size", "Meaning"] == "Samples a step."
    assert table.loc["Epochs trained", "Value"] == str(hyperparameters["max_epochs"])
    assert int(table.loc["Best epoch", "Value"]) in range(1, hyperparameters["max_epochs"] + 1)
    assert not {"Data", "Run", "Progress"} & set(table.index)


def test_tables_of_a_run(trained_run, tmp_path, request):
    data_list = request.config.rootpath / "data_list.yml"
    tables = save_tables(trained_run, tmp_path, data_list=data_list)
    assert {"data_sets", "hyperparameters"} <= set(tables)
    sources = read_data_list(data_list)
    rows = pd.read_csv(tables["data_sets"].with_suffix(".csv"))
    assert sorted(rows["Data set"]) == sorted(source.title for source in sources)
    assert len(cells_of(tables["data_sets"].read_text())) == len(sources) + 1
    assert rows["Article"].str.startswith("https://doi.org/").all()
    assert set(save_tables(trained_run, tmp_path / "other", data_list=tmp_path / "no.yml")) == set(tables) - {
        "data_sets"
    }


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no config\.yaml"):
        tabulate_hyperparameters(tmp_path, bed_topography.train)


def test_errors_have_a_row_for_each_measure():
    maps = {"prediction": 20.123, "cubic": 40.0}
    rows = [
        make_score("held-out picks", measure, "m", name, value)
        for measure in ("rmse", "bias", "mae")
        for name, value in maps.items()
    ]
    rows += [make_score("truth", "rmse", "m", name, value) for name, value in {**maps, "bound": 10.0}.items()]
    table = tabulate_errors({"scores": rows, "n_picks": 9, "n_flights": 3})
    assert table["Judged on"].tolist() == ["held-out picks (9)", "held-out picks (9)", "truth"]
    assert table["Prediction"].tolist() == [20.12] * 3
    text = to_markdown(table, digits=2)
    assert "| held-out picks (9) | RMSE (m) | 20.12 | 40.00 |  |" in text
    assert pd.read_csv(io.StringIO(table.to_csv(index=False)))["Bound"].notna().sum() == 1
