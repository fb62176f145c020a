"""One core a test: on more, small networks wait for threads."""

import importlib.util
import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(autouse=True)
def one_thread(request):
    """Restrain torch in the slow tests; the quick ones don't import it."""
    if request.node.get_closest_marker("slow") is None or not importlib.util.find_spec("torch"):
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
