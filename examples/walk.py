"""The walk of one proof, by the commands a user has: run a swarm, prove it, verify the proof as a peer, catch a forgery.

    python examples/walk.py SPEC

Each step is a real ``orca`` command in a process of its own. A step that ends otherwise than it must ends the walk with a
non-zero exit code, saying which step and why. Which model answers: the one the spec names, if a configured server has it;
else your own ORCA_MODEL_ALIASES; else an alias made here, and printed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

LOCAL = "local/smollm2-135m-instruct"
ORCA = [sys.executable, "-c", "from orca.cli import main; main()"]


def main() -> None:
    """Walk."""
    if len(sys.argv) != 2:
        fail("usage", "python examples/walk.py SPEC")
    spec = Path(sys.argv[1])
    os.environ.setdefault("ORCA_HOME", str(Path(".orca").absolute()))
    home = Path(os.environ["ORCA_HOME"])
    out = home / "proofs" / time.strftime("%Y%m%d-%H%M%S")

    say("1", "which model answers")
    choose_models(spec)

    say("2", f"run {spec} and prove it")
    orca("run", spec, "--follow", "--out", out, step="run", expect=0)

    say("3", "verify the proof as a peer would: by its CID, from the blocks, with the signer's public key alone")
    cid = orca_json("verify", out, "--level", "replay")["cid"]
    signer = orca_json("key", "show")["public_key"]
    said = orca("verify", cid, "--signer", signer, step="verify", expect=0)
    require_inference(said, out)

    say("4", "flip one byte of an answer and verify again")
    with tempfile.TemporaryDirectory() as folder:
        forged = Path(folder) / "forged"
        shutil.copytree(out, forged)
        flip_a_byte(forged / "journal.jsonl")
        orca("verify", forged, "--signer", signer, "--level", "replay", step="refuse the forgery", expect=1)

    print(f"\nAll steps ended as they must. The proof is in {out}\nVerify it yourself, from any shell in this folder:\n")
    shown = home.relative_to(Path.cwd()) if home.is_relative_to(Path.cwd()) else home
    print(f"    ORCA_HOME={shown} .venv/bin/orca verify {cid} --signer {signer}\n")


def choose_models(spec: Path) -> None:
    """Make sure every model the spec names is answered by something, and say by what."""
    rows = orca_json("models", codes=(0, 1))
    reachable = [row for row in rows if row["reachable"]]
    names = {row["name"] for row in reachable}
    for row in rows:
        if not row["reachable"]:
            print(f"  not reachable: {row['name']} ({row['provider']}): {row['detail']}")
    hosted = [row["name"] for row in reachable if row["provider"] != "local"]
    given = json.loads(spec.read_bytes())
    wanted = {each["model_name"] for each in [*(given.get("agents") or ()), given.get("lead")] if each}
    wanted |= set(given.get("allowed_models") or ())
    missing = sorted(wanted - names)
    if missing:
        target = hosted[0] if hosted else LOCAL
        if target not in names:
            fail("models", f"nothing can answer for {', '.join(missing)}: see `orca doctor`")
        given = os.environ.get("ORCA_MODEL_ALIASES", "")
        rules = ",".join(f"{name}={target}" for name in missing)
        os.environ["ORCA_MODEL_ALIASES"] = f"{given},{rules}" if given else rules
        print(f"  alias: ORCA_MODEL_ALIASES={os.environ['ORCA_MODEL_ALIASES']}")
    for name in sorted(wanted & names):
        print(f"  {name}: {next(row['provider'] for row in reachable if row['name'] == name)}")


def flip_a_byte(path: Path) -> None:
    """Change one letter of the first answer."""
    data = bytearray(path.read_bytes())
    place = data.index(b'"content":"') + len(b'"content":"')
    data[place] ^= 1
    path.write_bytes(bytes(data))
    print(f"  byte {place} of {path.name} changed")


def require_inference(said: list[str], package: Path) -> None:
    """Require what check 6 must say: open weights decoded again and equal, hosted models never more than ``closed_model``."""
    answers = [json.loads(line).get("answer") for line in (package / "journal.jsonl").read_text().splitlines()]
    is_open = all("digest" in answer["model"] for answer in answers if answer is not None)
    wanted = ["inference", "valid"] if is_open else ["inference", "not_measured", "closed_model:"]
    if not any(line.split()[: len(wanted)] == wanted for line in said):
        fail("verify", f"check 6 should have said {' '.join(wanted)}")


def orca(*arguments: object, step: str, expect: int) -> list[str]:
    """Run one command in the open, require its exit code and return the lines it printed on stdout."""
    print(f"$ orca {' '.join(map(str, arguments))}", flush=True)
    said = []
    with subprocess.Popen([*ORCA, *map(str, arguments)], stdout=subprocess.PIPE, text=True) as command:
        for line in command.stdout or ():
            print(line, end="", flush=True)
            said.append(line)
    if command.returncode != expect:
        fail(step, f"`orca {arguments[0]}` ended with exit code {command.returncode} instead of {expect}; its message stands above")
    return said


def orca_json(*arguments: object, codes: tuple[int, ...] = (0, 2)) -> Any:
    """Run one command quietly and return the JSON it prints."""
    done = subprocess.run([*ORCA, *map(str, arguments), "--json"], check=False, capture_output=True, text=True)
    if done.returncode not in codes:
        fail(str(arguments[0]), f"exit code {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def say(number: str, what: str) -> None:
    """Announce a step."""
    print(f"\n== {number}. {what}", flush=True)


def fail(step: str, why: str) -> NoReturn:
    """End the walk."""
    print(f"\nFAILED at step “{step}”: {why}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
