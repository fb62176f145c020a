"""Lay the Flower App out as its Hub takes it, and put it through Flower's own checks.

    python .ci/hub.py [FOLDER]

Into a new folder (a temporary one by default) go the files of `fab-include` in pyproject.toml, as
git has them; pictures are not taken there, so the README has whole links, those that PyPI gets.
`flwr app publish FOLDER` would upload it.
"""

import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# By its name, since a function of that name hides it.
publish = importlib.import_module("flwr.cli.app_cmd.publish")


def whole_links(text: str) -> str:
    """The README as PyPI gets it."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = config["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    return text


def lay_out(folder: Path) -> None:
    """Copy the app into a folder."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = [each.lstrip("/") for each in config["tool"]["flwr"]["app"]["fab-include"]]
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "pyproject.toml"]
    patterns = [f":(glob){each}" for each in included]
    listed = subprocess.run([*command, *patterns], capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    readme = folder / "README.md"
    readme.write_text(whole_links(readme.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    """Lay it out, check it, build it."""
    with tempfile.TemporaryDirectory(prefix="hub-") as name:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(name) / "flwr-resam"
        folder.mkdir(parents=True)
        lay_out(folder)
        config = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        publish._validate_description(config["project"]["description"])
        publish._validate_files(publish._collect_file_paths(folder))
        subprocess.run(["flwr", "build", "--app", str(folder)], cwd=name, check=True)


if __name__ == "__main__":
    main()
