"""Guards of the code that need the database: factories make valid rows, and migrations are current."""

from __future__ import annotations

from io import StringIO

import factory
import pytest
from django.core.management import call_command

from tests.rows import factories

pytestmark = pytest.mark.django_db
FACTORIES = sorted(factories(), key=lambda made: made.__name__)


@pytest.mark.parametrize("factory_", FACTORIES, ids=lambda made: made.__name__)
def test_a_factory_makes_a_valid_row(factory_: type[factory.django.DjangoModelFactory]) -> None:
    row = factory_()
    row.refresh_from_db()
    row.full_clean()


def test_migrations_say_all_that_models_and_declarations_say() -> None:
    said = StringIO()
    try:
        call_command("makemigrations", check=True, dry_run=True, stdout=said)
    except SystemExit:
        pytest.fail(f"run makemigrations: {said.getvalue()}")
