"""Pages and the repository around them: files that pages include, links that leave the folder, tables without a title."""

import re
import tomllib
from os.path import relpath
from pathlib import Path

LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?(\))")
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.M)


def _relinked(text, home, page, docs, source):
    """Links of a text that stands in `home`, as they must read on a page in `page`.

    Pages and pictures by their path from there, other files of the repository by where its source is published.
    """

    def rewrite(match):
        before, link, place, after = match.groups()
        target = (home / link).resolve()
        if not target.exists():
            return match[0]  # Sphinx says so
        if target.is_relative_to(docs) and target.stem == target.parent.name:
            target = target.parent / "index.md"  # the page that includes it
        if target.is_relative_to(docs) and target.suffix in (".md", ".ipynb", ".png"):
            link = relpath(target, page)
        else:
            kind = "tree" if target.is_dir() else "blob"
            link = f"{source}/{kind}/main/{target.relative_to(docs.parent).as_posix()}"
        return f"{before}{link}{place or ''}{after}"

    return LINK.sub(rewrite, text)


def _titled(page, text):
    """A table of the evidence as a page: its title, its figures, the table."""
    slug = page.stem.removesuffix("-table")
    names = [f"{slug}{kind}" for kind in ("-accuracy", "-heatmap", "")]
    figures = [f"![{name}]({name}.png)" for name in names if (page.parent / f"{name}.png").exists()]
    return "\n\n".join([f"# {page.parent.name}: {slug}", *figures, text])


def read(app, docname, content):
    """Change the text of one page before it is parsed."""
    docs = Path(app.srcdir).resolve()
    page = docs / app.env.doc2path(docname, base=False)
    if page.suffix != ".md":
        return
    project = tomllib.loads((docs.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project["urls"]["Repository"]

    def included(match):
        other = (page.parent / match[1]).resolve()
        return _relinked(other.read_text(encoding="utf-8"), other.parent, page.parent, docs, source)

    text = _relinked(content[0], page.parent, page.parent, docs, source)
    content[0] = INCLUDE.sub(included, text)
    if page.name.endswith("-table.md"):
        content[0] = _titled(page, content[0])


def setup(app):
    """Register with Sphinx."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
