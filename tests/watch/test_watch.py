"""The page of a run: what it shows, that it escapes, who may read it, and that a browser draws it."""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict

import httpx
import pytest
from typer.testing import CliRunner

from flwr_resam.cli import app
from flwr_resam.server.ledger import LEDGER
from flwr_resam.server.rounds import ROUNDS
from flwr_resam.watch import html, view
from flwr_resam.watch.prometheus import exposition
from flwr_resam.watch.server import application

ID = 2**63 - 25
EVIL = "</script><img src=x onerror=alert(1)>"


def write(folder, rounds=3, nodes=5):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LEDGER).open("w") as ledger, (folder / ROUNDS).open("w") as metrics:
        for number in range(1, rounds + 1):
            for node in range(nodes):
                line = {"round": number, "node": str(ID + node), "status": "valid", "distance": 1.0,
                        "weight": 0.0 if node == 0 else 1 / (nodes - 1)}
                if node == 1 and number == 2:
                    line = {"round": number, "node": str(ID + 1), "status": "silent"}
                if node == 2 and number == 3:
                    line = {"round": number, "node": str(ID + 2), "status": "rejected", "reason": EVIL}
                ledger.write(json.dumps(line) + "\n")
            metrics.write(json.dumps({
                "round": number, "train": {"f-effective": 1, EVIL: number, "norm": "nan"},
                "server": {"accuracy": number / 4, "list": [1, 2]}, "seconds": 1.0,
            }) + "\n")


def test_the_view_has_each_metric_by_round_and_each_node_by_round(tmp_path):
    write(tmp_path)
    seen = view(tmp_path)
    assert seen.rounds == [1, 2, 3]
    assert seen.series["server/accuracy"] == [0.25, 0.5, 0.75]
    assert seen.series["train/f-effective"] == [1, 1, 1]
    assert "train/norm" not in seen.series
    assert "server/list" not in seen.series
    by_id = {node["node"]: cells for node, cells in zip(seen.nodes, seen.cells, strict=True)}
    assert by_id[str(ID)] == [0.0, 0.0, 0.0]
    assert by_id[str(ID + 1)] == [1.0, -1.0, 1.0]
    assert by_id[str(ID + 2)][2] == -2.0
    assert {node["node"] for node in seen.suspects} == {str(ID + i) for i in range(3)}
    assert len({node["name"] for node in seen.nodes}) == 5


def test_a_round_in_which_a_node_was_not_asked_is_empty(tmp_path):
    write(tmp_path)
    lines = (tmp_path / LEDGER).read_text().splitlines(keepends=True)
    (tmp_path / LEDGER).write_text("".join(line for line in lines if str(ID + 4) not in line or '"round": 3' in line))
    seen = view(tmp_path)
    place = [node["node"] for node in seen.nodes].index(str(ID + 4))
    assert seen.cells[place] == [None, None, 1.0]


def test_a_round_of_any_number_takes_one_column(tmp_path):
    write(tmp_path, rounds=1)
    with (tmp_path / LEDGER).open("a") as file:
        file.write(json.dumps({"round": 10**11, "node": str(ID), "status": "silent"}) + "\n")
    seen = view(tmp_path)
    assert seen.rounds == [1, 10**11]
    assert seen.series["server/accuracy"] == [0.25, None]
    assert [0.0, -1.0] in seen.cells
    assert b"resam_round 1e+11" in exposition(seen)


@pytest.mark.parametrize("newer", [LEDGER, ROUNDS])
def test_two_runs_are_never_mixed(tmp_path, newer):
    write(tmp_path)
    line = {LEDGER: {"round": 1, "node": "7", "status": "silent", "run": 2},
            ROUNDS: {"round": 1, "server": {"accuracy": 0.5}, "run": 2}}[newer]
    with (tmp_path / newer).open("a") as file:
        file.write(json.dumps(line) + "\n")
    seen = view(tmp_path)
    assert seen.rounds == [1]
    assert [node["node"] for node in seen.nodes] == (["7"] if newer == LEDGER else [])
    assert seen.series == ({} if newer == LEDGER else {"server/accuracy": [0.5]})


def test_a_folder_that_a_run_will_come_to_is_an_empty_view(tmp_path):
    seen = view(tmp_path / "later")
    assert (seen.rounds, seen.nodes, seen.series) == ([], [], {})


@pytest.mark.parametrize("live", [False, True])
def test_what_nodes_say_can_not_leave_its_place_in_the_page(tmp_path, live):
    write(tmp_path / EVIL.replace("/", "_"))
    text = html(view(next(tmp_path.iterdir())), live=live)
    own = text.split('id="data"')[1].split("</script>")[0]
    assert "<img" not in own
    assert "onerror" in own
    assert EVIL not in text
    assert "<img src=x" not in text.split("</title>")[0]
    found = json.loads(own.split(">", 1)[1])
    assert any(EVIL in key for key in found["series"])


def test_the_file_needs_nothing_else(tmp_path):
    write(tmp_path)
    text = html(view(tmp_path))
    assert re.findall(r'<(?:script|link|img)[^>]*\s(?:src|href)=', text.split("<script>")[0]) == []
    assert "Plotly.react" in text


class Client:
    """Asks the application as a browser on this machine does."""

    def __init__(self, folder):
        self._transport = httpx.ASGITransport(application(folder))

    def get(self, path, headers=None):
        async def ask():
            async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def client(tmp_path):
    write(tmp_path)
    return Client(tmp_path)


def test_the_server_gives_the_page_its_scripts_and_newer_data(tmp_path, client):
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for script in re.findall(r'src="(/[^"]+)"', page.text):
        assert client.get(script).status_code == 200
    first = client.get("/data.json")
    assert first.json() == json.loads(json.dumps(asdict(view(tmp_path))))
    tag = {"If-None-Match": first.headers["etag"]}
    assert client.get("/data.json", headers=tag).status_code == 304
    write(tmp_path, rounds=4)
    for _ in range(100):  # a file is read again after a while
        again = client.get("/data.json", headers=tag)
        if again.status_code == 200:
            break
        time.sleep(0.05)
    assert again.json()["rounds"] == [1, 2, 3, 4]


@pytest.mark.parametrize("path", ["/", "/data.json", "/metrics"])
def test_a_file_that_is_none_of_a_run_is_named_wherever_one_looks(tmp_path, client, path):
    (tmp_path / LEDGER).write_text('{"round": 0}\n')
    answer = client.get(path)
    assert answer.status_code == 500
    assert "line 1" in answer.text
    (tmp_path / LEDGER).unlink()
    (tmp_path / LEDGER).mkdir()
    answer = client.get(path)
    assert answer.status_code == 500
    assert LEDGER in answer.text
    (tmp_path / LEDGER).rmdir()
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "resam.internal:8765"])
def test_a_page_of_another_name_can_not_read_it(client, host):
    assert client.get("/data.json", headers={"Host": host}).status_code == 400


def test_prometheus_reads_the_last_values(client):
    text = client.get("/metrics").text
    assert "resam_round 3.0" in text
    assert 'resam_metric{name="server/accuracy"} 0.75' in text
    assert f'resam_node_rejected{{node="{ID + 2}"}} 1.0' in text
    assert f'resam_node_remarks{{node="{ID + 3}"}} 0.0' in text


def test_the_command_writes_a_page_and_json_and_ends_with_a_code_of_its_own(tmp_path):
    write(tmp_path)
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--json", "--html", str(tmp_path / "page.html")])
    assert done.exit_code == 3
    assert json.loads(done.stdout)["rounds"] == [1, 2, 3]
    assert "<!doctype html>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("form", [["--json"], ["--html"], ["--json", "--html"], []])
def test_a_wrong_folder_is_an_error_in_every_form_and_nothing_is_written(tmp_path, form):
    page = tmp_path / "page.html"
    words = [word for option in form for word in ([option, str(page)] if option == "--html" else [option])]
    done = CliRunner().invoke(app, ["report", str(tmp_path / "typo"), *words])
    assert done.exit_code == 2
    assert "must hold a ledger.jsonl with at least one round" in done.stderr
    assert done.stdout == ""
    assert not page.exists()


def browser():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="no Chromium")
@pytest.mark.parametrize("live", [False, True])
def test_a_browser_draws_a_thousand_rounds_of_a_hundred_nodes(tmp_path, live):
    folder = tmp_path / "run"
    write(folder, rounds=1000, nodes=100)
    address = (tmp_path / "page.html").as_uri()
    (tmp_path / "page.html").write_text(html(view(folder)), encoding="utf-8")
    command = [sys.executable, "-c", "from flwr_resam.cli import app; app()", "watch", str(folder), "--port", "0"]
    with contextlib.ExitStack() as stack:
        if live:
            server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(server.terminate)
            address = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())[0]
        page = subprocess.run(
            [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
             "--virtual-time-budget=10000", "--dump-dom", address],
            capture_output=True, text=True, timeout=180, check=True,
        ).stdout
    assert "1000 rounds, 100 nodes" in page
    assert page.count("main-svg") >= 3  # three drawings
    assert page.count("<tr") == 101
    assert "<img src=" not in page.split("<main>")[1].split('<script type="application/json"')[0]
