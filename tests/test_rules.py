"""A FILE.yaml is read as it was written, or refused by name."""

import pytest
from small_rasters import CRS

from fieldwise.errors import InputError
from fieldwise.samples.rules import read_yaml, write_yaml


def test_read_yaml_undoes_write_yaml(tmp_path):
    content = {"crs": CRS, "region": [0.5, 1, 2, 3], "inputs": {"bed": {"path": "a.tif"}}}
    assert read_yaml(write_yaml(content, tmp_path / "a.yaml"), required=("crs", "inputs")) == content


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("crs: [EPSG:3031", "is no YAML"),
        ("a: b: c", "is no YAML"),
        ("- a\n- b\n", "should hold `key: value` lines"),
        ("", "should hold `key: value` lines"),
        ("crs: EPSG:3031\n", "lacks inputs, spacing_m"),
    ],
)
def test_read_yaml_names_what_is_wrong(tmp_path, text, complaint):
    path = tmp_path / "FILE.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"FILE\.yaml: {complaint}") as caught:
        read_yaml(path, required=("crs", "inputs", "spacing_m"))
    assert "\n" not in str(caught.value)


def test_read_yaml_of_what_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml: no such file"):
        read_yaml(tmp_path / "gone.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"is no YAML .*give a text file"):
        read_yaml(tmp_path / "binary.yaml")
    with pytest.raises(InputError, match="is no YAML"):
        read_yaml(tmp_path)
