"""The demo's modules lie beside each other in deploy/demo, as ``run.py`` finds them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "demo"))
