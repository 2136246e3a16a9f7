"""An analysis whose numbers come from the ablation's figures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taste.errors import RecipeError
from taste.files import atomic_path, write_text

FIGURES = "figures"  # folder beside the analysis that its pictures are copied to


def write_analysis(template: Path, figures: Mapping[str, Any], charts: Path) -> Path:
    """Write `ANALYSIS.md` beside its template, and the pictures it shows, `figures/NAME`, from the ablation's charts.

    Arguments and errors as of `fill`; a picture may be none of the charts, too.

    Returns:
        The path of ANALYSIS.md.
    """
    path = template.with_name("ANALYSIS.md")
    text = fill(template, figures)
    for name in re.findall(rf"\]\({FIGURES}/([^)/]+)\)", text):
        if not (charts / name).exists():
            raise RecipeError(f"{template} shows {FIGURES}/{name}, but {charts} has no such picture")
        picture = path.parent / FIGURES / name
        picture.parent.mkdir(exist_ok=True)
        with atomic_path(picture) as partial:
            shutil.copyfile(charts / name, partial)
    write_text(path, text)
    return path


def fill(template: Path, figures: Mapping[str, Any]) -> str:
    """Put figures into a text.

    Args:
        template: with places such as `{systems[taste][test][loss][mean]:.4f}`, in the language of `str.format`.
        figures: of `taste.ablation.collect`.

    Raises:
        RecipeError: a place names a figure that there is not; with the line.
    """
    lines = template.read_text(encoding="utf-8").splitlines()
    filled = []
    for number, line in enumerate(lines, start=1):
        try:
            filled.append(line.format(**figures))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise RecipeError(
                f"{template}:{number}: {type(error).__name__} {error}: there is no such figure in ablation.json, or it "
                "is no number"
            ) from error
    return "\n".join(filled) + "\n"
