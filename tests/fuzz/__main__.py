"""Search by coverage for bytes that a reader falls over: ``python -m tests.fuzz TARGET SECONDS``; `make fuzz` does all of them.

What it finds is left as ``crash-…`` in the folder of the run, and belongs into the tests. The corpus is kept in .cache/fuzz.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: what is searched: the readers, and what of the protocol they use
OURS = ["proof_store", "orca_protocol"]


def all_of_them(seconds: str) -> int:
    """Fuzz every target in a process of its own; return how many failed."""
    from tests.fuzz.targets import TARGETS

    failed = 0
    for name in TARGETS:
        print(f"fuzz: {name}, {seconds} s")  # noqa: T201 - it is a program
        failed += subprocess.run([sys.executable, "-m", "tests.fuzz", name, seconds], cwd=ROOT, check=False).returncode != 0
    return failed


def one(name: str, seconds: str) -> None:
    """Fuzz one target in this process, which ends with it."""
    try:
        import atheris
    except ImportError as error:
        sys.exit(f"fuzz: atheris is not here ({error}); it has wheels for some versions of Python on x86-64 Linux only")
    with atheris.instrument_imports(include=OURS):  # what is imported in here reports which of its branches are taken
        from tests.fuzz.seeds import seeds
        from tests.fuzz.targets import TARGETS
    corpus = ROOT / ".cache" / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={corpus}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        one(sys.argv[1], sys.argv[2])
    else:
        sys.exit(all_of_them(sys.argv[1] if len(sys.argv) == 2 else "60"))
