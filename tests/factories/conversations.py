"""Factories of sessions and messages."""

from __future__ import annotations

from decimal import Decimal

import factory

from conversations.models import Message, Session
from tests.factories.accounts import UserFactory


class SessionFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Session

    title = factory.Sequence("Session {}".format)
    user = factory.SubFactory(UserFactory)
    context = factory.LazyFunction(lambda: {"working_directory": "src", "goals": ["ship it"]})
    metadata = factory.LazyFunction(lambda: {"model": "sonnet", "temperature": 0.5})


class MessageFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Message

    session = factory.SubFactory(SessionFactory)
    role = Message.Role.USER
    content = factory.Sequence("What about case {}?".format)
    tokens = 7
    cost = Decimal("0.00012345")
