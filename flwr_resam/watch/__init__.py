"""A run in the browser: `flwr-resam watch FOLDER`, and the same as one file of HTML or JSON."""

from .page import html
from .view import View, view

__all__ = ["View", "html", "view"]
