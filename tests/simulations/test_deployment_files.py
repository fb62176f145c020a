"""The files for real devices: what they start is what Flower's commands accept."""

import configparser
import shlex
import ssl
import stat
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from flwr.common.config import parse_config_args
from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode

from clients.byzantine import BYZANTINE_CLIENTS
from simulations.deployment import keys
from simulations.deployment.keys import make_keys

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
    assert parse(shlex.split(services.pop("superlink")["command"])).enable_supernode_auth
    configs = []
    for index, (name, service) in enumerate(services.items()):
        args = parse(service["command"])
        assert args.superlink == "superlink:8000"
        assert any(f"/{name}:" in volume for volume in service["volumes"])
        configs.append(parse_config_args([args.node_config]))
        assert configs[-1]["partition-id"] == index
    assert {config["num-partitions"] for config in configs} == {6} == {len(configs)}
    liars = [config["byzantine"] for config in configs if "byzantine" in config]
    assert len(liars) == 1
    assert liars[0] in BYZANTINE_CLIENTS


def test_keys_are_private_and_belong_together(tmp_path):
    made = make_keys(tmp_path / "keys", 2, ["superlink.example", "10.0.0.1"])
    for private in (made.key, made.node(0), made.node(1)):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    authority = x509.load_pem_x509_certificate(made.ca.read_bytes())
    server = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["superlink.example", "localhost"]
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
