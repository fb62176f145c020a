"""The license as PyPI wants it: an SPDX expression.

Flower's apps must write ``license = { file = "LICENSE" }`` in pyproject.toml, which packages have
left behind; here the metadata of a build gets the expression in its place. Of a wheel that is
built from the sdist hatchling calls no hooks: build both of the tree.
"""

from hatchling.metadata.plugin.interface import MetadataHookInterface


class License(MetadataHookInterface):
    """Found by hatchling as the one hook of this file."""

    def update(self, metadata: dict[str, object]) -> None:
        """Change the metadata in place."""
        metadata["license"] = self.config["expression"]
