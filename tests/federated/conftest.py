"""The federated demo's modules lie beside each other in deploy/federated, and use the demo's."""

import sys
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
sys.path[:0] = [str(DEPLOY / "federated"), str(DEPLOY / "demo")]
