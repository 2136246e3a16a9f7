"""A device other than the CPU is given all that it needs, and the same comes out as on the CPU."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from unittest.mock import patch

import pytest
import torch
import torch.utils.backend_registration

from taste.model import cuda_graph, decoding
from taste.model.decoding import Limits
from taste.model.joint import JointModel
from taste.model.sampling import Sampling
from tests.helpers import model_config
from tests.test_joint_model import SPEECH_QUERY, SYSTEMS, make_batch, together

if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip(f"torch {torch.__version__} takes no backend in Python", allow_module_level=True)
from tests.helpers_device import NAME, Elsewhere, make_device

ALL = {**SYSTEMS, "speech_query": SPEECH_QUERY, "text only": {}, "fsq": {"aggregator": "attention", "quantizer": "fsq"}}


@pytest.fixture(scope="module")
def process():
    """A process that knows the other device."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=make_device) as pool:
        yield pool


def learn_and_speak(settings, device):
    """The gradients of a step, and units of its batch."""
    torch.manual_seed(0)
    model = JointModel(model_config(**settings)).to(device)
    batch = together(make_batch(5, 9, 20), make_batch(3, 12, 16), 0.0).to(torch.device(device))
    model(batch).loss().backward()
    gradients = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    return gradients, model.eval().decode(batch, Sampling(), Limits(1, 4), seed=1).unit.cpu()


def here_and_elsewhere(settings):
    """What `learn_and_speak` returns on the CPU and elsewhere, there with the steps that CUDA graphs repeat."""
    with Elsewhere():
        here = learn_and_speak(settings, "cpu")
        by_graphs = patch.object(decoding, "advance", decoding.advance_by_graphs)
        with by_graphs, patch.object(cuda_graph, "record", lambda work, _: work):
            return here, learn_and_speak(settings, NAME)


@pytest.mark.parametrize("system", ALL)
def test_training_and_decoding_leave_nothing_on_the_cpu(system, process):
    here, elsewhere = process.submit(here_and_elsewhere, ALL[system]).result()
    torch.testing.assert_close(elsewhere, here)


def mix():
    with Elsewhere():
        return torch.ones(2, device=NAME) + torch.ones(2)


def test_what_is_on_the_cpu_is_not_taken(process):
    with pytest.raises(AssertionError, match="on elsewhere:0 and on the CPU"):
        process.submit(mix).result()
