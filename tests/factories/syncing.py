"""Factory of conflicts."""

from __future__ import annotations

import factory

from syncing.identity import uuid7
from syncing.models import SyncConflict
from tests.factories.accounts import UserFactory


class SyncConflictFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = SyncConflict

    user = factory.SubFactory(UserFactory)
    table_name = "memory"
    row_id = factory.LazyFunction(uuid7)
    type = SyncConflict.Type.SAME_COLUMN
    fields = factory.LazyFunction(lambda: ["summary"])
    local = factory.LazyFunction(lambda: {"summary": "mine"})
