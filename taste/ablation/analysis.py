"""An analysis whose numbers come from the ablation's figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taste.errors import RecipeError


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
