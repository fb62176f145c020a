"""In these tests the looks for a reply follow each other without a pause."""

import pytest

from flwr_resam.wire import _fetch


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(_fetch, "_FIRST_PAUSE", 1e-3)
