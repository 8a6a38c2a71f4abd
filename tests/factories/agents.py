"""Factory of agents."""

from __future__ import annotations

import factory

from agents.models import Agent, AgentType
from tests.factories.accounts import UserFactory


class AgentFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Agent

    name = factory.Sequence("Agent {}".format)
    type = AgentType.CODER
    created_by = factory.SubFactory(UserFactory)
    config = factory.LazyFunction(lambda: {"model": "sonnet", "temperature": 0.5, "tools": ["search"]})
