"""The benchmarks' modules lie beside each other here, those that they share with the demo in deploy/demo."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE.parents[1] / "deploy" / "demo", HERE):
    sys.path.insert(0, str(folder))
