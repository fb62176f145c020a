"""torchvision's data sets, imported where one is downloaded or of a format it alone reads."""

from __future__ import annotations

from types import ModuleType


def torchvision_datasets() -> ModuleType:
    """Return ``torchvision.datasets``, or raise an ImportError that says what it is for."""
    try:
        from torchvision import datasets
    except ImportError:
        raise ImportError(
            "torchvision is needed to download data sets and to read `cifar10`. "
            "Install it with pip install torchvision."
        ) from None
    found: ModuleType = datasets
    return found
