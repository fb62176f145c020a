"""The documentation site: `sphinx-build -W -b html docs site`."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(ROOT))  # the tutorial runs the experiments of the repository

_project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = _project["name"]
author = copyright = "the contributors of flwr-resam"
version = release = _project["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "repository",  # _ext: links that leave the pages
    "registered",  # _ext: the classes of a registry
]
exclude_patterns = ["_ext", "robustness/robustness.md", "redteam/redteam.md"]  # pages include the latter two
html_theme = "furo"
html_title = "flwr-resam"
html_theme_options = {"source_repository": _project.get("urls", {}).get("Repository", "")}

# The tutorial is executed in each build; an error in it ends the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's own lists have the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
