"""Units and speaker embeddings as CosyVoice's own recipes keep them in a data directory, written and read.

The files are those of `tools/extract_speech_token.py` and `tools/extract_embedding.py` of FunAudioLLM/CosyVoice, which
`tools/make_parquet_list.py` there reads: dicts saved by torch, of lists of plain numbers, by utterance or speaker.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taste.archives import ArchiveWriter, read_array
from taste.errors import RecipeError, Skipped, UtteranceError
from taste.files import atomic_path, read_json, require, sha256, write_json
from taste.progress import progress
from taste.tables import read_int_table, read_table, write_table
from taste.units.cosyvoice import MODEL, RATE, UNITS, units_record

logger = logging.getLogger(__name__)

UTT2SPEECH_TOKEN = "utt2speech_token.pt"
UTT2EMBEDDING, SPK2EMBEDDING = "utt2embedding.pt", "spk2embedding.pt"
RATE_TOLERANCE = 0.1  # of the rate: units and durations are rounded, utterance by utterance


def write_cosyvoice_files(data_dir: str | Path, cosyvoice_data_dir: str | Path) -> int:
    """Write `utt2speech_token.pt`, `utt2embedding.pt` and `spk2embedding.pt` from a data directory.

    A speaker's embedding is the mean over its utterances. Utterances that lack units or an embedding are named, counted
    and left out.

    Args:
        data_dir: has `utt2spk`, `utt2s3` and `spk_emb.scp`.
        cosyvoice_data_dir: where the files go; it may be `data_dir`.

    Returns:
        The number of utterances written.

    Raises:
        RecipeError: a table is missing, or no utterance is left.
    """
    data_dir, cosyvoice_data_dir = Path(data_dir), Path(cosyvoice_data_dir)
    utt2spk = read_table(data_dir / "utt2spk", "stage 1")
    units = read_int_table(data_dir / "utt2s3", "stage 5")
    locations = read_table(data_dir / "spk_emb.scp", "stage 6")
    _warn_of_other_makers(data_dir)
    skipped = Skipped(str(data_dir))
    utt2embedding: dict[str, list[float]] = {}
    spk2embeddings: dict[str, list[list[float]]] = {}
    for utt, spk in progress(utt2spk.items(), "speaker embeddings", len(utt2spk)):
        try:
            if missing := [name for name, table in (("utt2s3", units), ("spk_emb.scp", locations)) if utt not in table]:
                raise UtteranceError(f"is missing from {' and '.join(missing)}")
            embedding = read_array(locations[utt]).flatten().tolist()
        except UtteranceError as error:
            skipped.add(utt, error)
            continue
        utt2embedding[utt] = embedding
        spk2embeddings.setdefault(spk, []).append(embedding)
    skipped.report(len(utt2spk))
    spk2embedding = {spk: torch.tensor(each).mean(dim=0).tolist() for spk, each in spk2embeddings.items()}
    _save(cosyvoice_data_dir / UTT2SPEECH_TOKEN, {utt: units[utt] for utt in utt2embedding})
    _save(cosyvoice_data_dir / UTT2EMBEDDING, utt2embedding)
    _save(cosyvoice_data_dir / SPK2EMBEDDING, spk2embedding)
    return len(utt2embedding)


def read_cosyvoice_files(
    cosyvoice_data_dir: str | Path, data_dir: str | Path, ark: str | Path, cosyvoice_dir: str | Path | None = None
) -> int:
    """Write `utt2s3`, `units.json`, `spk_emb.scp` and `spk_emb.json` from CosyVoice's files.

    `spk2embedding.pt` is not needed: it is the mean of `utt2embedding.pt`. Utterances without units (upstream gives
    none to those over 30 s) or embedding are named, counted and left out.

    Args:
        cosyvoice_data_dir: has `utt2speech_token.pt` and `utt2embedding.pt`.
        data_dir: where the tables go; the utterances of its `utt2spk`, where there is one, are taken and no others.
        ark: archive for the embeddings.
        cosyvoice_dir: CosyVoice-300M, whose models made the files. Their SHA-256 is recorded, without which the units
            do not count as those of `local/s3.sh`.

    Returns:
        The number of utterances written.

    Raises:
        RecipeError: a file is missing, damaged or holds something else; or its units are not of speech_tokenizer_v1.
    """
    cosyvoice_data_dir, data_dir = Path(cosyvoice_data_dir), Path(data_dir)
    units = _load(cosyvoice_data_dir / UTT2SPEECH_TOKEN, int)
    embeddings = _load(cosyvoice_data_dir / UTT2EMBEDDING, float)
    _check_units(units, cosyvoice_data_dir / UTT2SPEECH_TOKEN)
    _check_rate(units, data_dir / "utt2dur")
    dim = _common_length(embeddings, cosyvoice_data_dir / UTT2EMBEDDING)
    utt2spk = data_dir / "utt2spk"
    utts = read_table(utt2spk) if utt2spk.exists() else {**units, **embeddings}
    skipped = Skipped(str(cosyvoice_data_dir))
    for utt in sorted(utts, key=str.encode):
        if not units.get(utt):
            skipped.add(utt, "has no units", cosyvoice_data_dir / UTT2SPEECH_TOKEN)
        elif utt not in embeddings:
            skipped.add(utt, "has no embedding", cosyvoice_data_dir / UTT2EMBEDDING)
    skipped.report(len(utts))
    kept = sorted((utt for utt in utts if utt not in skipped.reasons), key=str.encode)
    units_json = units_record(_sha256(cosyvoice_dir, MODEL))
    spk_emb_json = {"backend": "campplus", "dim": dim, "sha256": _sha256(cosyvoice_dir, "campplus")}
    for name in ("units.json", "spk_emb.json"):
        (data_dir / name).unlink(missing_ok=True)  # a table without its record is noticed, one with another's is not
    with ArchiveWriter(ark, data_dir / "spk_emb.scp") as archive:
        for utt in kept:
            archive.write(utt, np.array(embeddings[utt], np.float32))
    write_table(data_dir / "utt2s3", {utt: " ".join(map(str, units[utt])) for utt in kept})
    write_json(data_dir / "units.json", units_json)
    write_json(data_dir / "spk_emb.json", spk_emb_json)
    return len(kept)


def _warn_of_other_makers(data_dir: Path) -> None:
    """CosyVoice's files do not say what made them, and its models know only their own units and embeddings."""
    for name, expected, stage in (("units.json", "cosyvoice", "stage 5"), ("spk_emb.json", "campplus", "stage 6")):
        backend = read_json(data_dir / name, stage)["backend"]
        if backend != expected:
            logger.warning(
                "%s: made by %s, not by %s: CosyVoice-300M cannot use them", data_dir / name, backend, expected
            )


def _save(path: Path, table: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        torch.save(table, partial)


def _load(path: Path, kind: type) -> dict[str, list[Any]]:
    """Read a dict of lists of numbers; nothing that the file may hold besides is run."""
    require(path, "CosyVoice's recipe (tools/extract_speech_token.py, tools/extract_embedding.py)")
    try:
        table = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zip's and torch's errors have no base class in common
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise RecipeError(f"{path} is damaged, or holds more than lists of numbers ({reason})") from error
    if not isinstance(table, dict) or not table:
        raise RecipeError(f"{path} holds no utterances; it should be a dict of lists of numbers")
    for utt, row in table.items():
        if not isinstance(utt, str) or utt.split() != [utt]:
            raise RecipeError(f"{path}: {utt!r} cannot be the name of an utterance")
        if not isinstance(row, list) or not all(type(number) is kind for number in row):
            raise RecipeError(f"{path}: {utt}: it should be a list of {kind.__name__}s")
    return table


def _check_units(units: dict[str, list[int]], path: Path) -> None:
    for utt, row in units.items():
        if row and not 0 <= min(row) <= max(row) < UNITS:
            beyond = max(row) if max(row) >= UNITS else min(row)
            raise RecipeError(
                f"{path}: {utt}: unit {beyond} lies outside 0 to {UNITS - 1}: it is of another tokenizer than {MODEL}"
            )


def _check_rate(units: dict[str, list[int]], utt2dur: Path) -> None:
    """Refuse units of the 25 Hz tokenizers, some of which use the same numbers."""
    durations = read_table(utt2dur) if utt2dur.exists() else {}
    utts = [utt for utt in durations if units.get(utt)]
    if not utts:
        return
    rate = sum(len(units[utt]) for utt in utts) / sum(float(durations[utt]) for utt in utts)
    if abs(rate - RATE) > RATE_TOLERANCE * RATE:
        raise RecipeError(f"{rate:.1f} units a second by {utt2dur}, but {MODEL} makes {RATE}: it is another tokenizer")


def _common_length(embeddings: dict[str, list[float]], path: Path) -> int:
    dim = len(next(iter(embeddings.values())))
    for utt, row in embeddings.items():
        if len(row) != dim or not dim:
            raise RecipeError(f"{path}: {utt} has {len(row)} numbers, others have {dim}")
        if not all(map(math.isfinite, row)):
            raise RecipeError(f"{path}: {utt}: NaN or infinite; make its embedding again")
    return dim


def _sha256(cosyvoice_dir: str | Path | None, model: str) -> str | None:
    return sha256(require(Path(cosyvoice_dir) / f"{model}.onnx", "stage 3")) if cosyvoice_dir else None
