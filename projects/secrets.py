"""Secret values of a project: sealed in memory and in the database, opened only by who asks for them.

A sealed value is a Fernet token. The first of FIELD_ENCRYPTION_KEYS seals, each of them opens, so that a key is
replaced by putting a new one first and sealing everything again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

import syncing


class CannotOpen(syncing.SyncError):
    """The secret values were sealed with a key that is not among FIELD_ENCRYPTION_KEYS any more."""


def keys() -> MultiFernet:
    """The keys of the settings."""
    return MultiFernet([Fernet(key) for key in settings.FIELD_ENCRYPTION_KEYS])


@dataclass(frozen=True)
class Secrets:
    """Names and values, sealed. Printing, comparing or copying it shows nothing."""

    token: str = ""

    @classmethod
    def seal(cls, values: Mapping[str, str]) -> Self:
        """Encrypts; no values need no token."""
        if not all(isinstance(part, str) for item in values.items() for part in item):
            raise ValidationError("Secret values are texts by name.", code="invalid")
        return cls(keys().encrypt(json.dumps(dict(values)).encode()).decode() if values else "")

    def open(self) -> dict[str, str]:
        """The values; raises CannotOpen when their key is gone."""
        if not self.token:
            return {}
        try:
            values: dict[str, str] = json.loads(keys().decrypt(self.token.encode()))
        except InvalidToken as error:
            raise CannotOpen from error
        return values

    def resealed(self) -> Self:
        """The same values under the newest key."""
        return type(self)(keys().rotate(self.token.encode()).decode()) if self.token else self

    def __repr__(self) -> str:
        return "Secrets(sealed)" if self.token else "Secrets()"

    def __str__(self) -> str:
        return repr(self)


class SecretsField(models.TextField):
    """A column of sealed values. Takes a mapping too, and seals it."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Secrets:
        return Secrets(value or "")

    def to_python(self, value: Any) -> Secrets:
        if isinstance(value, Secrets):
            return value
        if isinstance(value, Mapping):
            return Secrets.seal(value)
        if value in (None, ""):
            return Secrets()
        raise ValidationError("Secret values are given as a mapping of names to texts.", code="invalid")

    def get_prep_value(self, value: Any) -> Any:
        if hasattr(value, "resolve_expression"):
            return value
        return self.to_python(value).token

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.get_prep_value(self.value_from_object(obj)))
