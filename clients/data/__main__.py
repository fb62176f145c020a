"""`python -m clients.data mnist`: download a data set to where the experiments look for it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clients.data import check, named
from clients.data.root import root_of


def main(arguments: list[str] | None = None) -> int:
    """Download one data set, unless it is there; return 2 for what the user must mend."""
    parser = argparse.ArgumentParser(prog="python -m clients.data", description=__doc__)
    parser.add_argument("dataset", help="its name, as in a run-config")
    parser.add_argument("--data-dir", default="", help="default: RESAM_DATA, else the cache")
    chosen = parser.parse_args(arguments)
    root = root_of(chosen.data_dir)
    try:
        if not _there(chosen.dataset, root):
            named(chosen.dataset).download(root)
            check(chosen.dataset, str(root))
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(f"{chosen.dataset} is in {root}")
    return 0


def _there(name: str, root: Path) -> bool:
    try:
        named(name).check(root)
    except ValueError:
        named(name)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
