"""`.. registered:: flwr_resam.aggregators.AGGREGATORS` documents each class of a registry under its name."""

from importlib import import_module

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util.nodes import nested_parse_with_titles


class Registered(Directive):
    """A line for each entry: the name in text, and the class with its docstring."""

    required_arguments = 1

    def run(self):
        """Return what `autoclass` makes of every class."""
        home, name = self.arguments[0].rsplit(".", 1)
        lines = []
        for spelled, cls in getattr(import_module(home), name).items():
            lines += [f".. rubric:: ``{spelled}``", "", f".. autoclass:: {home}.{cls.__name__}", ""]
        into = nodes.section(document=self.state.document)
        nested_parse_with_titles(self.state, StringList(lines, source=self.arguments[0]), into)
        return into.children


def setup(app):
    """Register with Sphinx."""
    app.add_directive("registered", Registered)
    return {"parallel_read_safe": True}
