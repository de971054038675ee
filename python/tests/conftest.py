"""So that tests run in a checkout too; the package that is installed goes first."""
import sys
from pathlib import Path

try:
    import kedge  # noqa: F401
except ImportError:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
