"""Runs an app of this folder in process: as it stands, or with two lines of it changed."""

from pathlib import Path
from types import SimpleNamespace

from flwr.app import Context, RecordDict

from flwr_resam import AdversarialGrid, InProcessGrid
from flwr_resam.attacks import FOE

APPS = Path(__file__).parent / "apps"

TWO_LINES = {
    "app = ClientApp()\n": "app = ClientApp(mods=[momentum_mod(beta=0.9)])\n",
    "strategy = FedAvg(": "strategy = Resam(num_malicious_nodes=2, ",
}
"""The changes which the app's owner makes, imports aside."""


def load(name, changes=None):
    """Return the app's namespace, with each of the changes made in exactly one place."""
    source = (APPS / f"{name}.py").read_text(encoding="utf-8")
    for before, after in (changes or {}).items():
        assert source.count(before) == 1 + (before in "server_app = ServerApp()\n"), before
        source = source.replace(before, after)
    if changes:
        source = "from flwr_resam import Resam, momentum_mod\n" + source
    space = {"__name__": f"dropin_{name}"}
    exec(compile(source, f"{name}.py", "exec"), space)
    return SimpleNamespace(**space)


def run(app, *, attacked=False, rounds=30, local_epochs=2, num_nodes=6):
    """Run the ServerApp against its ClientApp, perhaps with a third of the nodes Byzantine.

    Return its metrics by round.
    """
    config = {"num-server-rounds": rounds, "local-epochs": local_epochs}
    grid = InProcessGrid(app.app, num_nodes, config)
    if attacked:  # the mean, turned round
        liars = list(grid.get_node_ids())[-(num_nodes // 3) :]
        grid = AdversarialGrid(grid, FOE(epsilon=2.5), liars)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config)
    app.server_app(grid, context)
    return [dict(context.state[str(number)]) for number in range(rounds + 1)]
