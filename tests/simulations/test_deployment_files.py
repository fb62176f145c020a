"""The files for real devices: what they start is what Flower's commands accept."""

import configparser
import os
import re
import shlex
import shutil
import ssl
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from flwr.common.config import parse_config_args
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode
from typer.testing import CliRunner

from clients.byzantine import BYZANTINE_CLIENTS
from simulations.deployment import keys
from simulations.deployment.__main__ import app
from simulations.deployment.keys import make_keys
from simulations.deployment.proxy import TEMPLATE, find_nginx, nginx_conf
from simulations.experiment import PROJECT

FOLDER = Path(keys.__file__).parent


def parse(words):
    """Read a command line as Flower does; a flag that it does not know ends the test."""
    parser = {
        "flower-superlink": _parse_args_run_superlink,
        "flower-supernode": _parse_args_run_supernode,
    }[Path(words[0]).name]()
    return parser.parse_args(words[1:])


def unit(name):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string((FOLDER / "systemd" / name).read_text(encoding="utf-8"))
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
    return parser


def test_the_superlink_unit_asks_for_tls_and_node_keys():
    start = unit("flower-superlink.service")["Service"]["ExecStart"]
    args = parse(shlex.split(start))
    assert not args.insecure
    assert args.enable_supernode_auth
    assert (args.host, args.port) == ("127.0.0.1", 8000)
    assert all(Path(path).is_absolute() for path in (args.ssl_certfile, args.ssl_keyfile))


def test_the_supernode_unit_starts_an_honest_node_of_its_partition():
    start = unit("flower-supernode@.service")["Service"]["ExecStart"]
    start = start.replace("%i", "3").replace("${NUM_PARTITIONS}", "6").replace("${PORT}", "8003")
    args = parse(shlex.split(start))
    assert args.port == 8003
    assert args.auth_supernode_private_key == "/etc/flwr-resam/node-3"
    assert parse_config_args([args.node_config]) == {"partition-id": 3, "num-partitions": 6}


def test_the_compose_file_is_a_superlink_and_six_nodes_of_which_one_is_byzantine():
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
    superlink, proxy = services.pop("superlink"), services.pop("proxy")
    assert parse(shlex.split(superlink["command"])).enable_supernode_auth
    configs = []
    for index, (name, service) in enumerate(services.items()):
        args = parse(service["command"])
        assert args.superlink == "proxy:8443"
        assert service["networks"] == ["devices"]
        assert mounted(service) == {"ca.pem", f"node-{index}"} == {"ca.pem", name}
        configs.append(parse_config_args([args.node_config]))
        assert configs[-1]["partition-id"] == index
    assert {config["num-partitions"] for config in configs} == {6} == {len(configs)}
    liars = [config["byzantine"] for config in configs if "byzantine" in config]
    assert len(liars) == 1
    assert liars[0] in BYZANTINE_CLIENTS
    assert superlink["networks"] == ["inside"]
    assert superlink["ports"] == ["127.0.0.1:8000:8000"]
    assert mounted(superlink) == {"ca.pem", "server.pem", "server.key"}
    assert mounted(proxy) == {"ca.pem", "proxy.pem", "proxy.key", "nginx.conf.template"}
    assert filled_in(proxy["environment"]) == VARIABLES


def test_the_image_has_what_the_build_of_the_package_reads():
    image = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["x-image"]
    lines = image["build"]["dockerfile_inline"].splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    hatch = project["tool"]["hatch"]
    hooks = hatch["metadata"]["hooks"]
    needed = {
        "pyproject.toml", project["project"]["license"]["file"],
        hooks["custom"].get("path", "hatch_build.py"),
        *(fragment["path"] for fragment in hooks["fancy-pypi-readme"]["fragments"]),
        *hatch["build"]["targets"]["wheel"]["packages"],
    }
    assert needed <= copied
    assert all((PROJECT / name).exists() for name in copied)


def mounted(service):
    """The names of the files that a container sees, none of them a folder."""
    return {Path(volume.split(":")[0]).name for volume in service["volumes"]}


VARIABLES = {"PROXY_LISTEN", "PROXY_SUPERLINK", "PROXY_KEYS", "PROXY_CONNECTIONS"}


def filled_in(environment):
    return {name for name in environment if name.startswith("PROXY_")}


def test_the_proxy_lets_through_what_a_supernode_calls_and_nothing_else():
    text = TEMPLATE.read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)\}", text)) == VARIABLES
    assert "${" not in nginx_conf("127.0.0.1:1", "127.0.0.1:2", Path("/keys"), 3)
    names = [
        name for group in re.findall(r"location ~ \^/v1/fleet/\(([a-z|-]+)\)\$ \{", text)
        for name in group.split("|")
    ]
    assert len(re.findall(r"^ *location ", text, re.MULTILINE)) == 4
    fleet = {
        path.removeprefix("/v1/fleet/") for method, path in PROTOBUF_REQUEST_TYPES
        if path.startswith("/v1/fleet/")
    }
    assert len(names) == len(set(names))
    # A node whose key is registered makes every Fleet call but these, which Flower refuses to it.
    assert set(names) == fleet - {"register-node", "unregister-node"}


@pytest.mark.skipif(not (find_nginx() and shutil.which("envsubst")), reason="no nginx or envsubst")
def test_the_proxy_unit_makes_a_configuration_that_nginx_accepts(tmp_path):
    service = configparser.RawConfigParser(strict=False, dict_type=Several)
    service.optionxform = str
    service.read_string((FOLDER / "systemd" / "flower-proxy.service").read_text(encoding="utf-8"))
    environment = dict(
        line.split("=", 1) for line in service["Service"]["Environment"].splitlines()
    )
    assert filled_in(environment) == VARIABLES == set(environment)
    made = make_keys(tmp_path / "keys", 1)
    environment["PROXY_KEYS"] = str(made.folder)
    shell, option, script = shlex.split(service["Service"]["ExecStartPre"].replace("$$", "$"))
    nginx = shlex.split(service["Service"]["ExecStart"])
    script = script.replace("/opt/flwr-resam/nginx.conf.template", str(TEMPLATE))
    script = script.replace("/var/lib/flower-proxy", str(tmp_path))
    subprocess.run([shell, option, script], env={**os.environ, **environment}, check=True)
    nginx = [word.replace("/var/lib/flower-proxy", str(tmp_path)) for word in nginx]
    done = subprocess.run(
        [find_nginx(), *nginx[1:], "-t"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert nginx_conf("0.0.0.0:8443", "127.0.0.1:8000", made.folder, 32) == (
        tmp_path / "nginx.conf"
    ).read_text(encoding="utf-8")


class Several(dict):
    """Keeps all lines of a key that a unit gives more than once."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and isinstance(self.get(key), list):
            value = self[key] + value
        super().__setitem__(key, value)


def test_keys_are_private_and_belong_together(tmp_path):
    made = make_keys(tmp_path / "keys", 2, ["superlink.example", "10.0.0.1"])
    for private in (made.key, made.proxy_key, made.node(0), made.node(1)):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    authority = x509.load_pem_x509_certificate(made.ca.read_bytes())
    for certificate, key in (
        (made.certificate, made.key), (made.proxy_certificate, made.proxy_key)
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server = x509.load_pem_x509_certificate(certificate.read_bytes())
        server.verify_directly_issued_by(authority)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["superlink.example", "localhost"]
    assert made.key.read_bytes() != made.proxy_key.read_bytes()
    private = load_ssh_private_key(made.node(0).read_bytes(), None)
    public = load_ssh_public_key(made.node_public(0).read_bytes())
    assert private.public_key() == public
    assert made.node(0).read_bytes() != made.node(1).read_bytes()


def test_keys_are_never_written_over(tmp_path):
    made = make_keys(tmp_path, 1)
    before = made.ca.read_bytes()
    with pytest.raises(FileExistsError):
        make_keys(tmp_path, 1)
    assert made.ca.read_bytes() == before


@pytest.mark.parametrize(
    "host",
    [
        "", " ", "superlink.example:8443", "10.0.0.1:8443", "[::1]", "bad host!", "ünïcode.example",
        "-a.example", "a..example", "10.0.0", "a" * 64,
    ],
)
def test_a_host_that_no_device_can_name_is_refused_before_anything_is_made(tmp_path, host):
    folder = tmp_path / "keys"
    arguments = ["keys", str(folder), "--host", "superlink.example", "--host", host]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert f"`host` must be a name or an address that devices connect to, without a port. Found {host!r}." in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize("host", ["proxy", "my_proxy", "3com.example", "a-b.example", "10.0.0.1", "::1"])
def test_names_and_addresses_are_hosts(tmp_path, host):
    assert make_keys(tmp_path / "keys", 1, [host]).certificate.exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["keys", str(tmp_path / "file" / "keys")])
    assert done.exit_code == 2
    assert "can't be written: Not a directory. Name a new folder" in " ".join(done.stderr.split())
