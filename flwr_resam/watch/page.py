"""The page: a file of HTML with its scripts beside it, or within it."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from html import escape
from importlib.resources import files

from ..errors import requirement
from .view import View


def html(view: View, *, live: bool = False) -> str:
    """Return the page of a run.

    Parameters
    ----------
    view : View
        What it shows.
    live : bool
        True for the page of a server, which has the scripts and newer data; False for one file
        that needs nothing else, also without a network.
    """
    page = _text("page.html")
    parts = {
        "{{title}}": escape(f"{view.folder} - flwr-resam"),
        "{{style}}": f"<style>{_text('page.css')}</style>",
        "{{data}}": data(view),
        "{{live}}": "true" if live else "false",
        "{{scripts}}": (
            '<script src="/plotly.js"></script><script src="/page.js"></script>' if live else
            f"<script>{plotly()}</script><script>{_text('page.js')}</script>"
        ),
    }
    for name, part in parts.items():
        page = page.replace(name, part, 1)
    return page


def data(view: View) -> str:
    """The view as JSON that can stand within HTML, whatever nodes call their metrics."""
    text = json.dumps(asdict(view), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def script() -> str:
    """The page's own script."""
    return _text("page.js")


@cache
def plotly() -> str:
    """The script that draws, as the package plotly ships it.

    Raises
    ------
    ImportError
        If plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise requirement(
            "plotly", "be installed for the page", "none", 'pip install "flwr-resam[watch]"',
            error=ImportError,
        ) from error
    return str(get_plotlyjs())


def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
