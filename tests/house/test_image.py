"""What the image and the compose file promise, read from their text: nothing is built here (`make image` does that)."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer
import yaml

from orca.cli import app
from tests.house.repository import PACKAGES, ROOT, files
from tests.house.test_docs import environment

COMPOSE = ROOT / "docker/compose.yaml"
EXAMPLE = ROOT / "docker/.env.example"
#: what only docker/compose.yaml reads: it ends up in no process, or in PostgreSQL's
OF_COMPOSE = {"GATEWAY_ADDRESS", "GATEWAY_PORT", "NODE_ADDRESS", "NODE_COMMAND", "NODE_PORT", "NODE_VERSION", "POSTGRES_PASSWORD"}
SECRETS = {
    *("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "ORCA_API_KEY", "ORCA_MODEL_KEYS", "ORCA_OPENAI_API_KEY", "POSTGRES_PASSWORD"),
    *(f"OPENROUTER_API_KEY{number}" for number in ("", 1, 2, 3)),
}
REQUIRED = {"ORCA_API_KEY", "POSTGRES_PASSWORD"}
SERVICES = ["kubo", "node", "postgres"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, their continuations joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in text.splitlines() if line.strip())]


def last_stage() -> list[tuple[str, str]]:
    said = instructions()
    return said[max(number for number, (word, _) in enumerate(said) if word == "FROM") :]


def only(word: str) -> str:
    (found,) = [rest for said, rest in last_stage() if said == word]
    return found


def image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(only("ENV")))


class Strict(yaml.SafeLoader):
    """A loader that refuses a key that stands twice in one mapping; YAML itself would keep the last one, silently."""


def _mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value if key.value != "<<"]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
    loader.flatten_mapping(node)
    return {loader.construct_object(key, deep=True): loader.construct_object(value, deep=True) for key, value in node.value}


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(COMPOSE.read_text(), Loader=Strict)  # noqa: S506  it is a SafeLoader
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def interpolated() -> dict[str, set[str]]:
    """Every variable that the compose file reads, with the ways it says so: ``:-default``, ``:?message``."""
    found: dict[str, set[str]] = {}
    text = re.sub(r"^\s*#.*$", "", COMPOSE.read_text(), flags=re.MULTILINE)
    for name, way in re.findall(r"\$\{([A-Z0-9_]+)([^}]*)\}", text):
        found.setdefault(name, set()).add(way)
    return found


def example() -> dict[str, str]:
    """The variables of the example, those in commented lines too."""
    return dict(re.findall(r"^(?:# )?([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), flags=re.MULTILINE))


def known_variables() -> set[str]:
    """What our settings classes read, and what the command line takes from the environment."""
    names = environment("orca.settings") | environment("orca.network_settings")
    commands = [typer.main.get_command(app)]
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        for parameter in command.params:
            said = parameter.envvar
            names |= {said} if isinstance(said, str) else set(said or ())
    return names


# ---- The image.


def test_its_base_can_be_swapped_and_is_no_moving_tag() -> None:
    assert ("ARG", "BASE=debian:bookworm-slim") in instructions()
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert set(bases) == {"${BASE}", "system"}


def test_it_runs_as_an_account_that_is_not_root() -> None:
    assert only("USER") == "10001:10001"
    made = " ".join(rest for word, rest in instructions() if word == "RUN")
    assert "useradd --uid 10001 --gid 10001" in made
    assert [word for word, _ in last_stage()].index("USER") < [word for word, _ in last_stage()].index("ENTRYPOINT")


def test_its_data_are_in_a_volume_of_that_account() -> None:
    assert only("VOLUME") == image_environment()["ORCA_HOME"] == "/var/lib/orca"
    assert any("install -d -o orca -g orca -m 0700 /var/lib/orca" in rest for word, rest in instructions() if word == "RUN")


def test_its_command_is_one_of_ours_and_does_not_bring_a_key() -> None:
    words = json.loads(only("ENTRYPOINT")) + json.loads(only("CMD"))
    assert words == ["orca", "agent", "--host", "0.0.0.0"]  # noqa: S104  it refuses without ORCA_API_KEY: tested by `make image`
    assert not {name for name in image_environment() if "KEY" in name or "PASSWORD" in name or "TOKEN" in name}
    assert {name for name in image_environment() if name.startswith("ORCA_")} <= known_variables()


@pytest.mark.parametrize("name", ["agent", "node"])
def test_it_listens_where_its_health_check_asks(name: str) -> None:
    (port,) = [each for each in typer.main.get_command(app).commands[name].params if each.name == "port"]  # type: ignore[attr-defined]
    assert (port.envvar, str(port.default)) == ("ORCA_PORT", image_environment()["ORCA_PORT"])
    assert "os.environ.get('ORCA_PORT') or 8080" in only("HEALTHCHECK")


def test_ports_signal_and_labels() -> None:
    assert only("EXPOSE").split() == ["8080", "8081"]
    assert only("STOPSIGNAL") == "SIGTERM"
    assert 'licenses="Apache-2.0"' in only("LABEL")


def test_everything_is_installed_by_hash_and_nothing_is_compiled() -> None:
    commands = " ".join(rest for word, rest in instructions() if word == "RUN")
    installs = re.findall(r"pip(?: --python \S+)? install (.*?)(?:&&|$)", commands)
    assert installs
    for install in installs:
        assert "--no-index" in install or {"--require-hashes", "--no-deps", "--only-binary"} <= set(install.split())
    assert not re.search(r"\b(gcc|build-essential|python3-dev|make)\b", commands)


def health_check() -> list[str]:
    match = re.search(r"CMD (\[.*\])$", only("HEALTHCHECK"))
    assert match
    command: list[str] = json.loads(match.group(1))
    assert command[0] == "/opt/orca/bin/python"
    return [sys.executable, *command[1:]]


@pytest.mark.parametrize(("status", "exits"), [(200, 0), (503, 1)])
def test_the_health_check_posts_to_healthz(status: int, exits: int) -> None:
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: Any, **more: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.handle_request, daemon=True).start()
        # a proxy that the container is told of has no business here
        environment = os.environ | {"ORCA_PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:9"}
        done = subprocess.run(health_check(), env=environment, capture_output=True, check=False, timeout=30)
    assert (done.returncode, asked) == (exits, ["POST /healthz"])


def test_the_health_check_fails_where_nothing_listens() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    done = subprocess.run(health_check(), env=os.environ | {"ORCA_PORT": str(port)}, capture_output=True, check=False, timeout=30)
    assert done.returncode != 0


def test_only_what_is_named_enters_a_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "everything stays out first"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert let_in == {*PACKAGES, "LICENSE", "README.md", "pyproject.toml", "requirements"}
    last_in = max(number for number, line in enumerate(lines) if line.startswith("!"))
    assert {"**/__pycache__", "**/.env", "**/*.key", "**/*.pem", "**/id.json"} <= set(lines[last_in + 1 :]), "the last rule wins"


# ---- The compose file.


def test_its_services_and_what_they_name_exist() -> None:
    document = compose()
    assert sorted(document["services"]) == SERVICES
    assert set(document) == {"name", "x-hardened", "services", "networks", "volumes"}
    for name in SERVICES:
        found = service(name)
        assert set(found["networks"]) <= set(document["networks"])
        for volume in found["volumes"]:
            source = volume.split(":")[0]
            assert (COMPOSE.parent / source).is_file() if source.startswith(".") else source in document["volumes"]
    build = service("node")["build"]
    assert (COMPOSE.parent / build["context"] / build["dockerfile"]).resolve() == ROOT / "Dockerfile"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_held_down(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not found.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}
    assert {"mem_limit", "cpus", "pids_limit"} <= found.keys()
    assert name == "node" or found["user"] not in {"root", "0", "0:0"}
    assert name == "node" or found["healthcheck"]["test"][0] == "CMD", "the node's is the image's own"


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_has_a_version(name: str) -> None:
    image = re.sub(r"\$\{[A-Z0-9_]+:-([^}]*)\}", r"\1", service(name)["image"])
    _, colon, tag = image.rpartition(":")
    assert colon
    assert re.match(r"v?\d", tag), image


def test_only_the_node_is_published_and_to_this_machine_only() -> None:
    assert [name for name in SERVICES if "ports" in service(name)] == ["node"]
    assert service("node")["ports"] == [
        "${NODE_ADDRESS:-127.0.0.1}:${NODE_PORT:-8080}:8080",
        "${GATEWAY_ADDRESS:-127.0.0.1}:${GATEWAY_PORT:-8081}:8081",
    ]
    # neither Kubo's RPC nor the database: their networks have no way out, and only the node is on both
    assert all(compose()["networks"][name] == {"internal": True} for name in ("database", "ipfs"))
    assert service("postgres")["networks"] == ["database"]
    assert service("kubo")["networks"] == ["ipfs"]


def test_the_node_waits_for_its_database() -> None:
    assert service("node")["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_what_is_secret_has_no_default() -> None:
    ways = interpolated()
    for name in SECRETS:
        assert all(way == ":-" or way.startswith(":?") for way in ways[name]), name
    for name in REQUIRED:
        assert all(way.startswith(":?set it in docker/.env") for way in ways[name]), name


def test_every_variable_is_one_that_somebody_reads() -> None:
    assert set(interpolated()) | set(example()) <= known_variables() | OF_COMPOSE
    given = set(service("node")["environment"])
    assert given <= known_variables()


def test_the_example_names_every_variable_and_holds_no_secret() -> None:
    said = example()
    assert set(said) == set(interpolated())
    assert {name: value for name, value in said.items() if name in SECRETS and value} == {}
    assert {path for path in files() if path.name == ".env"} == set()
    ignored = subprocess.run(["git", "check-ignore", "-q", "docker/.env"], cwd=ROOT, check=False)
    assert ignored.returncode in {0, 128}  # 128: the checkout is somebody else's


def test_the_example_names_the_version_of_this_project() -> None:
    from tests.house.repository import pyproject

    version = pyproject()["project"]["version"]
    assert example()["NODE_VERSION"] == version
    assert interpolated()["NODE_VERSION"] == {f":-{version}"}


def test_kubo_is_told_to_be_private_before_it_starts() -> None:
    script = ROOT / "docker/kubo-private.sh"
    assert os.access(script, os.X_OK), "Kubo's image runs what can be run"
    said = dict(re.findall(r"^set_to (\S+) (.+)$", script.read_text(), flags=re.MULTILINE))
    off = ["AutoConf.Enabled", "Discovery.MDNS.Enabled", "Provide.Enabled", "AutoTLS.Enabled", "Swarm.RelayService.Enabled"]
    assert {said[name] for name in off} == {"false"}
    assert said["Bootstrap"] == "'[]'"
    assert said["Gateway.NoFetch"] == "true"


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a:\n  b: 1\n  b: 1\n"])
def test_the_reader_refuses_a_key_twice(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="twice"):
        yaml.load(text, Loader=Strict)  # noqa: S506  as above


@pytest.mark.parametrize("script", ["scripts/image", "scripts/setup", "scripts/lock", "docker/kubo-private.sh"])
def test_a_script_is_plain_sh(script: str) -> None:
    path: Path = ROOT / script
    assert path.read_text().startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in path.read_text()
    checked = subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
