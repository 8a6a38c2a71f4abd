"""The units that documents offer: systemd accepts them, and what they start is there."""

from __future__ import annotations

import shlex
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from syncing.maintenance import GRACE
from tests.programs import program

ROOT = Path(__file__).resolve().parent.parent.parent
UNITS = sorted((ROOT / "docs/systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
PLACE = "/srv/claudia"
#: Seconds in which a server answers what is under way.
DRAIN = 10
#: What systemd calls OK; 10 is a service that may do anything.
MOST_EXPOSED = 2.0


def settings(unit: Path) -> dict[str, list[str]]:
    """All that is set, by name."""
    found = defaultdict(list)
    for line in unit.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def name(unit: Path) -> str:
    return unit.name


@pytest.mark.parametrize("unit", SERVICES, ids=name)
def test_a_service_starts_what_there_is(unit: Path) -> None:
    (command,) = settings(unit)["ExecStart"]
    program, *arguments = shlex.split(command)
    assert program.startswith(f"{PLACE}/.venv/bin/")
    assert (ROOT / Path(program).relative_to(PLACE)).exists()
    if arguments[0] == "manage.py":
        command, *options = arguments[1:]
        parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
        parser.parse_args(options)  # ends with SystemExit if there is no such option


@pytest.mark.parametrize("unit", SERVICES, ids=name)
def test_a_service_is_restricted_and_has_the_time_to_stop(unit: Path) -> None:
    known = settings(unit)
    for restriction in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "ProtectKernelTunables"):
        assert known[restriction] == ["yes"]
    assert known["ProtectSystem"] == ["strict"]
    assert int(known["TimeoutStopSec"][0]) >= 2 * max(DRAIN, GRACE)
    assert known["EnvironmentFile"] == ["/etc/claudia/environment"]
    if known.get("Type") != ["oneshot"]:
        assert known["Restart"] == ["on-failure"]
    # A task gets the signal from its parent; from systemd too it would be the second one, which ends it at once.
    assert known.get("KillMode", []) == (["mixed"] if "maintain" in unit.name else [])


def test_units_name_each_other_rightly() -> None:
    there = {unit.name for unit in UNITS}
    wanted = settings(ROOT / "docs/systemd/claudia.target")["Wants"][0].split()
    instances = {f"{one.split('@')[0]}@.service" if "@" in one else one for one in wanted}
    assert instances <= there
    timers = {unit.with_suffix(".service").name for unit in UNITS if unit.suffix == ".timer"}
    assert timers <= there


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """As they are on a machine where Claudia lies here, an instance of the template among them."""
    program("systemd-analyze", package="systemd")
    for unit in UNITS:
        text = unit.read_text().replace(PLACE, str(ROOT)).replace("EnvironmentFile=", "EnvironmentFile=-")
        (tmp_path / unit.name.replace("@.", "@8000.")).write_text(text)
    return sorted(tmp_path.iterdir())


def test_systemd_accepts_them(installed: list[Path]) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *installed], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if any(unit.name in line for unit in installed)]
    assert (done.returncode, ours) == (0, [])


def test_systemd_calls_them_well_confined(installed: list[Path]) -> None:
    for unit in installed:
        if unit.suffix == ".service":
            done = subprocess.run(
                ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", unit],
                capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout[-300:]
