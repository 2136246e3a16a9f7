"""Quality by ear, as models of listeners estimate it: DNSMOS of any speech, PESQ and STOI against the original."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from pystoi import stoi
from speechmos import dnsmos

from taste.audio import SAMPLE_RATE
from taste.errors import UtteranceError

try:
    import pesq as pesq_package
except ImportError:
    pesq_package = None  # it has no wheels and needs a compiler

PESQ_MISSING = (
    None if pesq_package else "it needs the package pesq and a compiler: pip install -r requirements-pesq.txt"
)


def mean_opinion(samples: np.ndarray) -> float:
    """DNSMOS P.835's overall quality, 1 to 5 (Reddy et al. 2022, arXiv 2110.01763), of float32 (samples,) at 16 kHz.

    The mean over windows that begin a second apart, as in the package speechmos, whose own `run` works out P.808, too,
    with a thread on each processor. Audio shorter than a window is repeated to fill one. The package would double it
    until it is longer, and take the mean over up to eight windows of the same speech, at seven times the cost; of 12
    utterances of 2 to 9 s that mean was lower by 0.02 on average, and correlated by 0.993.
    """
    size = int(dnsmos.INPUT_LENGTH * SAMPLE_RATE)
    filled = np.clip(samples if len(samples) >= size else np.resize(samples, size), -1, 1)
    starts = SAMPLE_RATE * np.arange(int(len(filled) // SAMPLE_RATE - dnsmos.INPUT_LENGTH) + 1)
    raw = [_dnsmos().run(None, {"input_1": filled[None, start : start + size]})[0][0] for start in starts]
    signal, background, overall = np.transpose(raw)
    _, _, overall = dnsmos.DNSMOS.get_polyfit_val(None, signal, background, overall, is_personalized_MOS=False)
    return float(np.mean(overall))


@cache
def _dnsmos() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    path = Path(dnsmos.__file__).with_name("dnsmos_models") / "sig_bak_ovr.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def intelligibility(original: np.ndarray, samples: np.ndarray) -> float:
    """STOI, 0 to 1 (Taal et al. 2011), of speech with the original's timing; the longer of the two is cut.

    Raises:
        UtteranceError: less than 0.4 s of it is speech.
    """
    length = min(len(original), len(samples))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(original[:length], samples[:length], SAMPLE_RATE))
        except (RuntimeWarning, ValueError) as error:
            raise UtteranceError(f"too little speech for STOI ({str(error).splitlines()[0]})") from error


def perceptual_quality(original: np.ndarray, samples: np.ndarray) -> float:
    """Wide-band PESQ (ITU-T P.862.2), 1 to 4.6, of speech with the original's timing; the longer of the two is cut.

    Raises:
        UtteranceError: no speech is found in one of them.
    """
    length = min(len(original), len(samples))
    try:
        return float(pesq_package.pesq(SAMPLE_RATE, original[:length], samples[:length], "wb"))
    except pesq_package.PesqError as error:
        raise UtteranceError("PESQ finds no speech in one of the two") from error
