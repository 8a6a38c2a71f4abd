"""Factories of people and API tokens."""

from __future__ import annotations

import factory
from django.contrib.auth.hashers import make_password

from accounts.models import ApiToken, User
from accounts.tokens import PREFIX_LENGTH, START, digest


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = User

    email = factory.Sequence("user{}@example.org".format)
    name = factory.Sequence("User {}".format)
    password = factory.LazyFunction(lambda: make_password(None))


class ApiTokenFactory(factory.django.DjangoModelFactory):
    """The text of the token is `text`."""

    class Meta:
        model = ApiToken

    class Params:
        text = factory.Sequence((START + "{:043d}").format)

    user = factory.SubFactory(UserFactory)
    name = factory.Sequence("Token {}".format)
    digest = factory.LazyAttribute(lambda made: digest(made.text))
    prefix = factory.LazyAttribute(lambda made: made.text[:PREFIX_LENGTH])
