"""Factory of memories."""

from __future__ import annotations

import factory

from memory.models import Memory
from tests.factories.accounts import UserFactory


class MemoryFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Memory

    key = factory.Sequence("preference-{}".format)
    type = Memory.Type.USER_PREFERENCE
    content = factory.LazyFunction(lambda: {"editor": "vim", "tabs": 4})
    summary = "Likes short answers."
    tags = factory.LazyFunction(lambda: ["style", "tone"])
    user = factory.SubFactory(UserFactory)
