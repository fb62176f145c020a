"""Install the light wheel, without torch and Ray, with each Python there is; train an example.

    python .ci/light_wheel.py

For each of Python 3.11 to 3.14 that is on the PATH: a fresh virtual environment, the wheel with
what it requires, scikit-learn for the data, and the NumPy example in process, where 3 of 9 nodes
are Byzantine.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
TRAIN = """
import logging
import sys
sys.path.insert(0, {app!r})
from flwr.app import ArrayRecord, ConfigRecord
from numpyexample import task
from numpyexample.client_app import app
from flwr_resam import AdversarialGrid, InProcessGrid, Resam
from flwr_resam.attacks import FOE
import numpy as np
logging.getLogger("flwr").setLevel(logging.ERROR)
assert "torch" not in sys.modules and "ray" not in sys.modules
nodes = InProcessGrid(app, 9, {{"local-epochs": 2, "learning-rate": 0.3, "seed": 0}})
grid = AdversarialGrid(nodes, FOE(epsilon=10.0), partitions=[6, 7, 8])
strategy = Resam(num_malicious_nodes=3, fraction_evaluate=0.0, seed=0)
found = strategy.start(
    grid, ArrayRecord(task.initial_model()), num_rounds=10, train_config=ConfigRecord({{"lr": 0.3}})
).arrays
weights, bias = found.to_numpy_ndarrays()
x, y = task.load_test_data()
accuracy = float(np.mean((x @ weights + bias).argmax(axis=1) == y))
assert accuracy > 0.85, accuracy
print(f"accuracy {{accuracy:.3f}} with 3 of 9 nodes under attack")
"""


def main() -> None:
    """Try each Python; fail where one that is here can't."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        folder = Path(name)
        _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", name, str(ROOT))
        (wheel,) = folder.glob("*.whl")
        for version in VERSIONS:
            python = shutil.which(f"python{version}")
            # A version manager's shim is there for what is not.
            if python is None or _run(python, "-c", "", check=False).returncode:
                print(f"Python {version} is not here: not tried.")
                continue
            home = folder / version
            _run(python, "-m", "venv", str(home))
            own = str(home / "bin" / "python")
            tried = _run(own, "-m", "pip", "install", "--quiet", "--dry-run", "flwr", check=False)
            if tried.returncode:
                print(f"Python {version}: flwr can't be installed from this registry, not tried.")
                continue
            _run(own, "-m", "pip", "install", "--quiet", str(wheel), "scikit-learn")
            code = TRAIN.format(app=str(ROOT / "examples" / "quickstart-numpy"))
            done = _run(own, "-c", code, cwd=folder)
            print(f"Python {version}: {done.stdout.strip().splitlines()[-1]}", flush=True)


def _run(
    *command: str, check: bool = True, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... failed:\n{done.stderr[-2000:]}")
    return done


if __name__ == "__main__":
    main()
