"""Where httpx and Authlib may be imported, held by import-linter."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    linter = str(Path(sys.executable).parent / "lint-imports")
    command = [linter, str(HERE / "imports.ini"), "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_httpx_and_authlib_are_imported_in_amazon_only() -> None:
    """A second place that calls Amazon would have its own deadlines, bounds and errors."""
    checked = lint(ROOT)
    assert checked.returncode == 0, checked.stdout
    assert "2 kept, 0 broken" in checked.stdout


def test_the_contract_notices_a_stranger(tmp_path: Path) -> None:
    """A module elsewhere that imports httpx breaks it."""
    for name, text in {
        "app/__init__.py": "",
        "app/delivery.py": "import httpx\n",
        "app/amazon/__init__.py": "",
        "app/amazon/client.py": "import httpx\nimport sqlalchemy\n",
        "app/store/__init__.py": "",
        "app/api/__init__.py": "",
        "sandbox/__init__.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    checked = lint(tmp_path)
    assert checked.returncode == 1
    assert "app.delivery -> httpx" in checked.stdout
    assert "0 kept, 2 broken" in checked.stdout
