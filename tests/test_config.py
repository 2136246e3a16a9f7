"""Bad configurations stop before the work starts, with the setting and the file named."""

import pytest
import yaml

from taste.config import load_config, save_config
from taste.errors import RecipeError
from tests.helpers import tiny_config


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(save_config(tiny_config()))
    return path


def test_saved_and_read_again_is_the_same(path):
    assert load_config([path]) == tiny_config()


def test_later_files_and_the_command_line_override(path, tmp_path):
    (tmp_path / "more.yaml").write_text("epochs: 7\nlearning_rates: {lm: 1e-3}\n")
    config = load_config([path, tmp_path / "more.yaml"], ["seed=5"])
    assert (config.train.epochs, config.train.learning_rates, config.train.seed) == (7, {"lm": 0.001}, 5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epocs: 3", "unknown setting 'epocs'"),
        ("epochs: three", "epochs is 'three'"),
        ("epochs: 0", "epochs has to be at least 1"),
        ("dim: 15", "a width of 15 does not divide"),
        ("aggregator: whisperer", "choose one of none, attention"),
        ("aggregator: whisper\naggregator_dim: 8", "Whisper's decoder is as wide as its encoder, 12"),
        ("aggregator: attention\nvalue_layers: [2, last]", "takes one of value_layers, not 2, last"),
        ("value_layers: 2", "it should be a list of str"),
        ("quantizer: fsq", "nothing to quantize"),
        ("- a list", "holds no settings"),
        ("a: [", "not valid YAML"),
    ],
)
def test_bad_settings_are_named_with_their_file(path, tmp_path, setting, message):
    (tmp_path / "bad.yaml").write_text(setting + "\n")
    with pytest.raises(RecipeError, match=message) as error:
        load_config([path, tmp_path / "bad.yaml"])
    assert "bad.yaml" in str(error.value) or "a width" in message


def test_missing_settings_are_named(path):
    values = yaml.safe_load(path.read_text())
    del values["epochs"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(RecipeError, match="no value for epochs"):
        load_config([path])
