"""The example plugin is imported as its author would, by its own name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
