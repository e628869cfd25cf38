"""Scores as rows: laid out, picked, written whole or not at all, read back, and said in words."""

import csv
import json
import math

import numpy as np
import pytest

from fieldwise import scores
from fieldwise.errors import InputError
from fieldwise.scores import make_score, verdict
from fieldwise.verbs.evaluate import judge

ROWS = [
    make_score("radar", "rmse", "m", "prediction", 38.914, low=30.0, high=45.0),
    make_score("radar", "rmse", "m", "cubic", 54.7),
    make_score("radar", "mae", "m", "prediction", 0.25),
    make_score("truth", "rmse", "m", "prediction", 12345.6),
    make_score("truth", "rmse", "m", "bound", math.nan),
]


def test_a_table_has_a_line_for_each_measure_and_a_column_for_each_name():
    lines = [line.split() for line in scores.format_table(ROWS).splitlines()]
    assert lines == [
        ["against", "measure", "prediction", "cubic", "bound"],
        ["radar", "RMSE", "(m)", "38.91", "54.70"],
        ["MAE", "(m)", "0.2500"],  # what is repeated is left out
        ["truth", "RMSE", "(m)", "12346"],
    ]
    assert len({len(line) for line in scores.format_table(ROWS[:3]).splitlines()[:2]}) == 1  # columns align


def test_further_keys_have_columns_of_their_own():
    rows = [
        make_score("test", "mae", "K", "prediction", 1.5, lead_h=12),
        make_score("test", "bias", "K", "prediction", 1),
    ]
    table = scores.tabulate(rows)
    assert list(table.columns) == ["against", "measure", "lead_h", "prediction"]
    assert table["lead_h"].tolist() == [12, ""]
    assert scores.value_of(rows, lead_h=12) == 1.5
    assert scores.value_of(rows, lead_h=None) == 1


def test_rows_are_picked_by_their_keys():
    assert [row["value"] for row in scores.pick(ROWS, against="radar", measure="rmse")] == [38.914, 54.7]
    assert [row["name"] for row in scores.pick(ROWS, name=("cubic", "bound"))] == ["cubic", "bound"]
    assert scores.pick(ROWS, measure="crps") == []
    with pytest.raises(InputError, match="2 scores have against radar, measure rmse; name one"):
        scores.value_of(ROWS, against="radar", measure="rmse")


def test_judging_leaves_files_that_tell_all(tmp_path, capsys):
    order = []
    judged = judge(
        ROWS,
        run=tmp_path,
        facts={"n_picks": 9, "surveys": {"2010tr": 9}},
        verdicts=["fine", ""],
        figures=lambda: order.append((tmp_path / "scores.json").exists()) or [tmp_path / "map.png"],
    )
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3:] == ["n picks 9", "fine", str(tmp_path / "map.png")]
    assert order == [True]  # nothing can be lost when figures are drawn
    written = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)  # no NaN in JSON
    assert written["scores"][0] == {**ROWS[0], "low": 30.0, "high": 45.0}
    assert written["scores"][-1]["value"] is None
    assert (written["n_picks"], written["surveys"]) == (9, {"2010tr": 9})
    read = scores.read_scores(tmp_path / "scores.json")
    np.testing.assert_equal(read, judged)
    with (tmp_path / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["value"] or "nan") for line in lines[:4]] == [row["value"] for row in ROWS[:4]]
    assert lines[0]["high"] == "45.0"


def test_what_goes_wrong_leaves_the_scores_of_before(tmp_path):
    judge(ROWS, run=tmp_path)
    before = (tmp_path / "scores.json").read_bytes()
    with pytest.raises(TypeError):
        judge(ROWS, run=tmp_path, facts={"picks": object()})
    with pytest.raises(InputError, match="there is no score"):
        judge([], run=tmp_path)
    with pytest.raises(InputError, match="choose another name"):
        judge(ROWS, run=tmp_path, facts={"scores": 1})
    assert (tmp_path / "scores.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.json"]


def test_a_broken_figure_loses_no_score(tmp_path, capsys):
    def draw():
        raise RuntimeError("GMT has no colour map of this name")

    with pytest.raises(RuntimeError):
        judge(ROWS, run=tmp_path, figures=draw, verdicts=["fine"])
    assert len(scores.read_scores(tmp_path / "scores.json")["scores"]) == len(ROWS)
    assert "fine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; judge a prediction with the verb evaluate"),
        ("{", "cannot be read"),
        ("[]", "holds no scores; evaluate again"),
        ('{"rmse_m": {"prediction": 38.9}}', "holds no scores; evaluate again"),  # as it once was
        (
            '{"scores": [{"against": "radar", "value": 1}]}',
            "a score lacks measure, unit, name; evaluate again",
        ),
        ('{"scores": [7]}', "a score lacks against"),
    ],
)
def test_what_holds_no_scores(tmp_path, content, message):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        scores.read_scores(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def words(values, **options):
    rows = [make_score("radar", "rmse", "m", name, value) for name, value in values.items()]
    return verdict(rows, against="radar", measure="rmse", **options)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prediction": 40, "cubic": 50}, "20 % better than cubic (50.00 m)"),
        ({"prediction": 50, "cubic": 50.2}, "no better than cubic (50.20 m)"),
        ({"prediction": 50.2, "cubic": 50}, "no better than cubic (50.00 m)"),
        ({"prediction": 51, "inversion": 50}, "; inversion alone is better (50.00 m)"),
    ],
)
def test_a_verdict_in_words(values, said):
    assert words(values).endswith(said)


def test_a_verdict_passes_over_bounds_and_what_is_missing():
    assert words({"prediction": 40, "bound": 20, "truth": 0, "cubic": math.nan}) == (
        "radar: RMSE of the prediction 40.00 m"
    )
    assert words({"cubic": 40}) == ""
    assert words({"prediction": math.nan, "cubic": 40}) == ""


def test_more_can_be_better():
    rows = [
        make_score("test", "iou", "1", name, value) for name, value in (("prediction", 0.6), ("last", 0.5))
    ]
    said = verdict(rows, against="test", measure="iou", better="more")
    assert said == "test: IoU of the prediction 0.6000, 20 % better than last (0.5000)"
    assert "last alone is better" in verdict(rows, against="test", measure="iou", better="less")


def test_sums_of_parts_score_as_the_whole_does():
    random = np.random.default_rng(1)
    truth = random.normal(3, 1, size=(40, 30))
    prediction = truth + random.normal(0.2, 0.5, size=truth.shape)
    prediction[random.random(truth.shape) < 0.1] = np.nan
    sums = scores.ErrorSums()
    for rows in np.array_split(np.arange(40), [7, 7, 29]):  # one part is empty
        sums.add(prediction[rows], truth[rows])
    assert sums.count == np.isfinite(prediction).sum()
    for name in ("rmse", "mae", "bias"):
        assert getattr(sums, name) == pytest.approx(getattr(scores, name)(prediction, truth), rel=1e-12)
    known = np.isfinite(prediction)
    whole = scores.relative_l1(prediction[known], truth[known])
    assert sums.relative_l1 == pytest.approx(whole, rel=1e-12)


def test_sums_of_nothing_are_refused():
    with pytest.raises(InputError, match="share no point"):
        _ = scores.ErrorSums().rmse
    with pytest.raises(InputError, match="share no full window of 5 x 5 cells"):
        _ = scores.RoughnessSums().ratio
    sums = scores.RoughnessSums(3)
    sums.add([1.0], [0.0])
    with pytest.raises(InputError, match="the truth is flat"):
        _ = sums.ratio


def test_directions_by_hand():
    """East, north-east, north against east: cosines 1, root of a half, 0; what stands still has none."""
    prediction = np.array([[1.0, 2.0, 0.0, 5.0], [0.0, 2.0, 7.0, 0.0]])
    truth = np.array([[3.0, 1.0, 9.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    expected = (1 + 0.5**0.5) / 3
    assert scores.direction_cosine(prediction, truth, still=0.5) == pytest.approx(expected)
    assert math.isnan(scores.direction_cosine(prediction, np.zeros((2, 4))))
    assert scores.speed_of(prediction).tolist() == pytest.approx([1, 8**0.5, 7, 5])
