"""`python -m claudia.postgres forget HOME…`: remove servers' folders, and what root's servers keep outside of them."""

import shutil
import sys
from pathlib import Path

from claudia.postgres.home import Home
from claudia.postgres.place import SHELTER, shelter_of
from claudia.postgres.problem import PostgresProblem


def forget(folder: Path) -> None:
    """Remove the server in `folder`, with all its data; raises PostgresProblem while it is used."""
    if folder.is_dir():
        if Home(folder).users().is_held():
            raise PostgresProblem(f"The database in {folder} is running: stop what uses it first.")
        shutil.rmtree(folder)
    shutil.rmtree(shelter_of(folder), ignore_errors=True)
    if SHELTER.is_dir() and all(path.name.startswith("binaries-") for path in SHELTER.iterdir()):
        shutil.rmtree(SHELTER, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] != ["forget"]:
        sys.exit(__doc__)
    try:
        for name in sys.argv[2:]:
            forget(Path(name))
    except PostgresProblem as problem:
        sys.exit(f"claudia: {problem}")
