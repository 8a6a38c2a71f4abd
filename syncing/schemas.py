"""JSON columns with a schema: what is stored has the form that was promised, whoever writes through Python.

The check sits where every write of Django passes (`get_db_prep_save`: save, bulk_create, bulk_update, update), and in
`validate` for forms. What SQL writes, the column's CHECK holds to the top-level type at least.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import BaseExpression, Value
from jsonschema import Draft202012Validator, FormatChecker

from syncing.fields import exactly

#: More errors than a person reads at once, and more of a value than helps, are left out.
MAX_ERRORS = 10
MAX_MESSAGE = 300

FORMATS = FormatChecker()


@FORMATS.checks("timezone")
def is_timezone(value: object) -> bool:
    """A name of the IANA time zone database, such as Europe/Berlin."""
    return not isinstance(value, str) or value in available_timezones()


class SchemaField(models.JSONField):
    """A jsonb column whose values fit a JSON Schema (2020-12; `format: timezone` is known beside the standard ones).

    Errors name the path inside: `config.temperature: 3 is greater than the maximum of 2`. The schema is a rule of the
    program, not of the database: migrations keep only its top-level type, which is a CHECK.
    """

    #: A form's check leaves out fields with an empty value that may be blank; here an empty list may be wrong, too.
    empty_values = ()

    def __init__(self, *args: Any, schema: Mapping[str, Any], **kwargs: Any) -> None:
        self.schema = schema
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        kwargs["schema"] = {"type": self.schema["type"]} if "type" in self.schema else {}
        return name, path, list(args), kwargs

    def db_check(self, connection: BaseDatabaseWrapper) -> str | None:
        if not isinstance(self.schema.get("type"), str):
            return None
        return f"jsonb_typeof({connection.ops.quote_name(self.column)}) = '{self.schema['type']}'"

    @cached_property
    def validator(self) -> Draft202012Validator:
        """The compiled schema."""
        Draft202012Validator.check_schema(self.schema)
        return Draft202012Validator(self.schema, format_checker=FORMATS)

    def check_value(self, value: object) -> None:
        """Raises ValidationError, a message for each place where the value does not fit."""
        errors = sorted(self.validator.iter_errors(value), key=lambda error: [str(step) for step in error.path])
        messages = [f"{place(self.name, error.path)}: {shortened(error.message)}" for error in errors]
        messages += [f"{place(self.name, path)}: {why}" for path, why in unstorable(value)]
        if messages:
            raise ValidationError(messages[:MAX_ERRORS], code="invalid")

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        # Not JSONField's own: it knows no Decimal, as which numbers of clients come.
        super(models.JSONField, self).validate(value, model_instance)
        if value is not None:
            self.check_value(value)

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        plain = value.value if isinstance(value, Value) else value
        if plain is not None and not isinstance(plain, BaseExpression):
            self.check_value(plain)
        return super().get_db_prep_save(value, connection)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        return exactly(super().get_db_prep_value(value, connection, prepared))


class MergedJSON(models.Func):
    """SQL for the object in a jsonb column with `changes` laid over it, key by key and as deep as `changes` goes.

    One expression, so that two writers of different keys do not undo each other:
    `update(preferences=MergedJSON("preferences", {"notifications": {"push": False}}))`. An empty object merges nothing.
    """

    template = "(%(expressions)s)"
    arg_joiner = " || "
    output_field = models.JSONField()

    def __init__(self, target: str | BaseExpression | models.F, changes: Mapping[str, Any]) -> None:
        column = models.F(target) if isinstance(target, str) else target
        flat = {key: value for key, value in changes.items() if not isinstance(value, Mapping)}
        nested = (
            BuiltObject(key, MergedJSON(ObjectAt(column, key), value))
            for key, value in changes.items()
            if isinstance(value, Mapping)
        )
        super().__init__(column, Value(flat, models.JSONField()), *nested)


def merged_json(model: type[models.Model], field: str, changes: Mapping[str, Any]) -> MergedJSON:
    """MergedJSON, once the changes are known to fit the field's schema; ValidationError where they do not.

    Enough where the schema speaks of each key by itself, without `required`.
    """
    column = model._meta.get_field(field)
    if not isinstance(column, SchemaField):
        raise TypeError(f"{model.__name__}.{field} has no schema")
    column.check_value(dict(changes))
    return MergedJSON(field, changes)


class ObjectAt(models.Func):
    """The object under a key, `{}` where there is none."""

    output_field = models.JSONField()

    def __init__(self, column: Any, key: str) -> None:
        super().__init__(column, Value(key))

    template = "(%(expressions)s)"

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **extra: Any) -> Any:
        (column, column_params), (key, key_params) = (compiler.compile(part) for part in self.source_expressions)
        sql = (
            f"CASE WHEN jsonb_typeof({column} -> {key}::text) = 'object'"
            f" THEN {column} -> {key}::text ELSE '{{}}'::jsonb END"
        )
        once = [*column_params, *key_params]
        return sql, [*once, *once]


class BuiltObject(models.Func):
    """An object of one key."""

    function = "jsonb_build_object"
    template = "%(function)s(%(expressions)s)"
    output_field = models.JSONField()

    def __init__(self, key: str, value: Any) -> None:
        super().__init__(models.functions.Cast(Value(key), models.TextField()), value)


def place(name: str, path: Iterable[object]) -> str:
    """A path as people write it: `config.hooks.pre_task[0]`."""
    return name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def shortened(message: str) -> str:
    """The message without the rest of a huge value that it quotes."""
    return message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE // 2]} … {message[-MAX_MESSAGE // 2 :]}"


def unstorable(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], str]]:
    """Where the value holds what a schema lets pass and jsonb refuses: NUL in a text, NaN and infinity."""
    if isinstance(value, str) and "\x00" in value:
        yield path, "a text cannot contain NUL"
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, f"{value} is not a number that JSON has"
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from unstorable(key, path)
            yield from unstorable(member, (*path, key))
    elif isinstance(value, list | tuple):
        for index, member in enumerate(value):
            yield from unstorable(member, (*path, index))
