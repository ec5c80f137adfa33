"""Schemathesis as the judge of an OpenAPI document: is it true of the server that serves it?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SEED = 20250117
CONFIG = Path(__file__).with_name("schemathesis.toml")


def judge(url: str, *, examples: int) -> None:
    """Test every operation of `url`/openapi.json with so many examples; fail with what it found."""
    program = Path(sys.executable).with_name("schemathesis")
    words = ["run", f"{url}/openapi.json", "--seed", str(SEED), "--max-examples", str(examples)]
    ended = subprocess.run(
        [program, "--config-file", CONFIG, *words, "--no-shrink", "--request-timeout", "10"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert "Tested: 7" in ended.stdout, ended.stdout
