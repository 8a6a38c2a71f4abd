"""Factories of projects and collaborators."""

from __future__ import annotations

import factory

from projects.models import Collaborator, Project, Role
from tests.factories.accounts import UserFactory


class ProjectFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Project

    name = factory.Sequence("Project {}".format)
    description = "What we work on."
    owner = factory.SubFactory(UserFactory)
    settings = factory.LazyFunction(lambda: {"language": "python", "dependencies": {"django": "5.2"}})


class CollaboratorFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Collaborator

    project = factory.SubFactory(ProjectFactory)
    user = factory.SubFactory(UserFactory)
    role = Role.EDITOR
