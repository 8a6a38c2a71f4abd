"""Who is there, for whoever asks."""

from __future__ import annotations

import pytest

from tests.cast import Cast, cast
from tests.writing import Device


@pytest.fixture
def people() -> Cast:
    """Alice with a project, its collaborators, and somebody who is none."""
    return cast()


@pytest.fixture
def bob(people: Cast) -> Device:
    """Where bob writes."""
    return Device(people.bob)
