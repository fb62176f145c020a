"""What a release is made of: metadata, the README that PyPI and Flower's Hub show, who to cite."""

import importlib
import importlib.util
import re
import tomllib

import pytest
import yaml

import flwr_resam
from simulations.experiment import PROJECT

publish = importlib.import_module("flwr.cli.app_cmd.publish")
CONFIG = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def hub():
    spec = importlib.util.spec_from_file_location("hub", PROJECT / ".ci" / "hub.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_place_says_where_the_project_is():
    home = CONFIG["project"]["urls"]["Repository"]
    assert all(url.startswith(home) for url in CONFIG["project"]["urls"].values())
    hook = CONFIG["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert all(home in each["replacement"] for each in hook["substitutions"])
    for folder in ("flwr_resam", "docs", "clients", "simulations", "examples"):
        for path in (PROJECT / folder).rglob("*.*"):
            if path.suffix in (".py", ".md", ".toml"):
                assert home not in path.read_text(encoding="utf-8"), path
    for name in ("README.md", "CHANGELOG.md", "CITATION.cff"):
        assert home not in (PROJECT / name).read_text(encoding="utf-8")


def test_links_of_the_readme_are_whole_where_it_is_shown_elsewhere():
    before = (PROJECT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", hub().whole_links(before))
    assert len(links) == len(re.findall(r"\]\(([^)]+)\)", before)) > 20
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert not re.search(r"<img|<a ", before)
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", hub().whole_links(before))
    assert shown
    assert all("/raw/" in link for link in shown)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # flwr's, of pathspec
def test_the_app_passes_the_checks_of_flowers_hub(tmp_path, capsys):
    module = hub()
    module.lay_out(tmp_path)
    files = publish._collect_file_paths(tmp_path)
    publish._validate_files(files)
    names = {path.relative_to(tmp_path.resolve()).as_posix() for path in files}
    assert {"pyproject.toml", "README.md", "LICENSE", "clients/app.py"} <= names
    assert "Validation passed" in capsys.readouterr().out
    (tmp_path / "flwr_resam" / "large.py").write_text("#" * (1 << 21))
    with pytest.raises(Exception, match="File too large"):
        publish._validate_files(publish._collect_file_paths(tmp_path))


def test_versions_and_names_agree():
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    project = CONFIG["project"]
    assert cited["version"] == project["version"] == flwr_resam.__version__
    assert cited["license"] == CONFIG["tool"]["hatch"]["metadata"]["hooks"]["custom"]["expression"]
    assert cited["title"] == project["name"]
    assert [each["name"] for each in cited["authors"]] == [each["name"] for each in project["authors"]]
    assert len(cited["preferred-citation"]["authors"]) == 5


def test_the_release_workflow_is_one_that_publishes_what_was_checked():
    found = yaml.safe_load((PROJECT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    jobs = found["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    steps = [step.get("run", "") for step in jobs["build"]["steps"]]
    assert steps.index("bash .ci/run") < steps.index("twine check --strict dist/*")
    assert any("pypi-publish" in step.get("uses", "") for step in jobs["publish"]["steps"])
