"""How threads wait for each other."""

import os
import subprocess
import sys

import pytest

ASKED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
CODE = (
    "import os, sys; from sae_pipeline.__main__ import exit_code;"
    f"exit_code(lambda: print([os.environ.get(name) for name in {ASKED}], 'torch' in sys.modules))"
)


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, [None, "10000"]), ({"OMP_WAIT_POLICY": "active"}, ["active", None]), ({"GOMP_SPINCOUNT": "7"}, [None, "7"])],
)
def test_commands_say_so_before_torch_loads(given: dict[str, str], found: list[str | None]) -> None:
    """The runtime reads the variables when it is loaded. What the user has set is kept."""
    own = {name: value for name, value in os.environ.items() if name not in ASKED}
    done = subprocess.run([sys.executable, "-c", CODE], env=own | given, capture_output=True, text=True)
    assert done.stdout == f"{found} False\n", done.stderr
