"""The ablation from the corpus to its tables, on a few utterances and a few of its systems."""

import json
import os
import subprocess

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from taste.ablation.analysis import fill
from taste.ablation.charts import plot_grids
from taste.errors import RecipeError
from tests.helpers_recipe import CORPUS, ROOT, RUN, copy_chapters, make_recipe_dir
from tests.test_recipe import SETTINGS

SYSTEMS = ["text_only_continued", "taste", "taste_rvq2", "speech_query"]


@pytest.fixture(scope="module")
def ablation(tmp_path_factory, pretrained_dir):
    """A recipe directory after an ablation, the command for it, and what it printed."""
    folder = make_recipe_dir(tmp_path_factory.mktemp("ablation") / "my recipe", SETTINGS)
    copy_chapters(CORPUS / "train", folder / "corpus/train", 3, 4)
    copy_chapters(CORPUS / "dev", folder / "corpus/dev", 2, 1)
    copy_chapters(CORPUS / "test", folder / "corpus/test", 2, 2)
    (folder / "mine.conf").write_text(
        'train_parts="train"\ndev_parts="dev"\ntest_parts="test"\ncorpus=corpus\nkmeans_K=20\n'
        f"continued_config=conf/continued.yaml\npretrained_dir='{pretrained_dir}'\n"
    )
    (folder / "analysis.in.md").write_text("TASTE: {systems[taste][test][loss][mean]:.4f}.\n")
    (folder / "run.sh").write_text(f'#!/usr/bin/env bash\nexec "{RUN}" --config mine.conf "$@"\n')
    (folder / "run.sh").chmod(0o755)
    command = [ROOT / "egs/librispeech/run_ablation.sh", "--seeds", "1 2", "--layers", "2 last"]
    command += ["--systems", " ".join(SYSTEMS), "--", "--nj", "1", "--set_jobs", "2"]
    return folder, command, run(folder, command)


def run(folder, command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_it_leaves_figures_tables_charts_and_maps(ablation):
    folder, _, result = ablation
    assert result.returncode == 0, result.stdout + result.stderr
    exp = folder / "exp/ablation"
    figures = json.loads((exp / "ablation.json").read_text())
    assert set(figures["systems"]) == {"unigram", "copy previous unit", "text_only", *SYSTEMS}
    taste = figures["systems"]["taste"]["test"]
    assert len(taste["loss"]["values"]) == len(taste["difference"]["intervals"]) == 2
    assert taste["difference"]["low"] <= taste["difference"]["mean"] <= taste["difference"]["high"]
    quantized = figures["systems"]["taste_rvq2"]["test"]
    assert {"kept", "tokens", "free_running"} <= set(quantized)
    lost = quantized["loss"]["mean"] - taste["loss"]["mean"]
    assert quantized["difference_from_taste"]["mean"] == pytest.approx(lost)
    for grid in ("grid", "grid_other_units"):
        cells = figures["grids"][grid]["sets"]["test"]["difference"]
        assert len(cells) == 2 and all(len(row) == 2 for row in cells)
    assert figures["grids"]["grid_other_units"]["units"]["layer"] == "2"
    report = (exp / "RESULTS.md").read_text()
    assert all(f"| {name}" in report for name in SYSTEMS) and r"\pm" in (exp / "tables.tex").read_text()
    assert (folder / "ANALYSIS.md").read_text() == f"TASTE: {taste['loss']['mean']:.4f}.\n"
    for name in ("loss", "bits", "grid", "grid_other_units"):
        assert (exp / f"charts/{name}.png").stat().st_size > 1000 and (exp / f"charts/{name}.pdf").exists()
    assert len(list((exp / "charts").glob("attention_taste_[0-9]*.png"))) == 2


def test_an_analysis_names_the_figures_it_asks_for_in_vain(tmp_path):
    (tmp_path / "analysis.in.md").write_text("fine\n{systems[tast][loss]:.4f}\n")
    with pytest.raises(RecipeError, match=r"analysis\.in\.md:2: KeyError 'tast'"):
        fill(tmp_path / "analysis.in.md", {"systems": {"taste": {"loss": 1.0}}})


def test_with_speech_as_queries_the_lm_reads_as_much_as_the_speech_is_long(ablation):
    folder, _, _ = ablation
    figures = json.loads((folder / "exp/ablation/ablation.json").read_text())["systems"]
    read = {name: figures[name]["test"]["free_running"]["positions"]["mean"] for name in ("taste", "speech_query")}
    assert read["speech_query"] - read["taste"] == pytest.approx(12.5 / 25, abs=0.02)  # of 25 units a second


def test_started_again_it_trains_nothing(ablation):
    folder, command, _ = ablation
    weights = sorted((folder / "exp/ablation").glob("*/*/best.safetensors"))
    times = [path.stat().st_mtime_ns for path in weights]
    again = run(folder, [*command[:1], "--stage", "2", "--stop_stage", "3", *command[1:]])
    assert again.returncode == 0, again.stderr
    assert again.stdout.count(": complete") == 2 * (1 + len(SYSTEMS))
    assert [path.stat().st_mtime_ns for path in weights] == times


def test_the_figures_in_a_grid_can_be_read():
    cells = [[-0.02, -0.01, 0.0], [0.01, -0.005, 0.004], [0.002, -0.015, 0.02]]
    grid = {"sets": {"test": {"difference": cells}}, "layers": ["2", "4", "last"], "units": {"layer": "3"}}
    axes = plot_grids(grid, "test").axes[0]
    (image,) = axes.images
    for text, value in zip(axes.texts, np.ravel(cells), strict=True):
        ink, cell = (
            np.dot(colour[:3], (0.3, 0.6, 0.1)) for colour in (to_rgb(text.get_color()), image.cmap(image.norm(value)))
        )
        assert abs(ink - cell) > 0.45, text.get_text()
