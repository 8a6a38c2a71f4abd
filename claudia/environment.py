"""Typed reading of the environment that refuses nonsense at start, naming the variable.

A thin layer over django-environ: that parses, this checks ranges and says in one sentence what is wrong. What is read,
with which default and range, is kept: `.env.example` and the documents are held to it, and names that nothing reads
are told, since they are probably misspelt.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict

DATABASE_SCHEMES = ("postgres", "postgresql")
WEB_SCHEMES = ("https", "http")
MAIL_SCHEMES = ("smtp", "smtp+tls", "smtp+ssl", "consolemail", "filemail")
REDIS_SCHEMES = ("redis", "rediss")
#: Of connections to the database, unless the URL says otherwise. A server whose machine or network is gone answers with
#: nothing, not even an end: by itself the kernel waits for it up to a quarter of an hour. Milliseconds, and seconds.
NOTICED_SOON = {
    "connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 5, "keepalives_interval": 2,
    "keepalives_count": 3,
}  # fmt: skip
#: A line of a `.env` file that sets something.
ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", re.MULTILINE)
#: Of what only Claudia reads.
PREFIXES = ("SYNC_", "ALERT_", "BACKUP_", "MAINTAIN_", "METRICS_", "MONITORING_")
#: From here on two names are taken for one, of which one is misspelt.
ALIKE = 0.85


@dataclass(frozen=True)
class Variable:
    """What is read: its default as one would write it (blank: none), and what it may be, in words (blank: any text)."""

    name: str
    default: str
    range: str


class Environment:
    """The process's environment, with a `.env` file behind it for what is not set."""

    def __init__(self, dotenv: Path | None = None) -> None:
        self._env = environ.Env()
        self._written: list[str] = []
        #: What has been read, in that order.
        self.declared: dict[str, Variable] = {}
        if dotenv is not None and dotenv.is_file():
            self._written = ASSIGNMENT.findall(dotenv.read_text())
            self._env.read_env(str(dotenv), overwrite=False)

    def text(self, name: str, default: str = "") -> str:
        """The variable, stripped; the default when it is absent or blank."""
        return self._read(name, default) or default

    def names(self, name: str, default: list[str]) -> list[str]:
        """A comma separated list; the default when the variable is absent or blank."""
        value = self._read(name, ",".join(default), "comma separated")
        return [part.strip() for part in value.split(",") if part.strip()] or default

    def flag(self, name: str, default: bool) -> bool:
        """A yes or no. (django-environ takes every unknown word for a no: a typing error would switch things off.)"""
        value = self._read(name, str(int(default)), "0 or 1").lower()
        if not value:
            return default
        if value in ("1", "true", "yes", "on"):
            return True
        if value in ("0", "false", "no", "off"):
            return False
        raise ImproperlyConfigured(f"{name} must be 1 or 0 (also true/false, yes/no, on/off), not {value!r}.")

    def choice(self, name: str, default: str, choices: list[str]) -> str:
        """One of a few words, in capitals."""
        value = (self._read(name, default, f"one of {', '.join(choices)}") or default).upper()
        if value not in choices:
            raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
        return value

    def integer(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        return int(self._number(name, default, self._env.int, f"a whole number from {low} to {high}", low, high))

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return float(self._number(name, default, self._env.float, f"a number from {low:g} to {high:g}", low, high))

    def database(self, name: str, url: str) -> dict[str, Any]:
        """Django's settings for the PostgreSQL at `url`; `name` is the variable that the error blames."""
        self._check_url(name, url, DATABASE_SCHEMES, "postgres://user:password@host:5432/name")
        settings: dict[str, Any] = environ.Env.db_url_config(url)
        if not settings.get("NAME"):
            raise ImproperlyConfigured(f"{name} must name a database, like postgres://user:password@host:5432/name.")
        return settings | {"OPTIONS": NOTICED_SOON | settings.get("OPTIONS", {})}

    def standby(self, name: str) -> str:
        """The address of one or more standbys, in libpq's way; empty when the variable is absent."""
        url = self.text(name)
        if url:
            # Not by `_check_url`: libpq takes several hosts. The value is not repeated, as there.
            try:
                parts = conninfo_to_dict(url)
            except psycopg.Error:
                parts = {}
            ports = str(parts.get("port") or "").replace(",", "")
            fits = url.startswith(tuple(f"{scheme}://" for scheme in DATABASE_SCHEMES))
            if not fits or not parts.get("dbname") or (ports and not ports.isdigit()):
                raise ImproperlyConfigured(f"{name} must be an address like postgres://user:password@host:5432/name.")
        return url

    def redis(self, name: str) -> str | None:
        """The address of a Redis, or None when the variable is absent."""
        url = self._read(name, "", "an address like redis://host:6379/0")
        if not url:
            return None
        self._check_url(name, url, REDIS_SCHEMES, "redis://host:6379/0")
        return url

    def web_address(self, name: str) -> str:
        """An address that begins with http:// or https://; empty when the variable is absent."""
        url = self._read(name, "", "an address like https://host/path")
        if url:
            self._check_url(name, url, WEB_SCHEMES, "https://host/path")
            if not urlsplit(url).hostname:
                raise ImproperlyConfigured(f"{name} must be an address like https://host/path.")
        return url

    def mail(self, name: str, *, required: bool) -> dict[str, Any]:
        """Django's settings for the mail server at the variable's address; none when it is absent."""
        url = self._read(name, "", "an address like smtp+tls://user:password@host:587")
        if not url:
            if required:
                raise ImproperlyConfigured(f"{name} must be set when ALERT_EMAILS is.")
            return {}
        self._check_url(name, url, MAIL_SCHEMES, "smtp+tls://user:password@host:587")
        found: dict[str, Any] = environ.Env.email_url_config(url)
        return {setting: value for setting, value in found.items() if setting.startswith("EMAIL_") and value}

    def secret(self, name: str, *, file: Path, make: Callable[[], str], required: bool) -> str:
        """A secret: from the environment, else (in development) drawn once and kept in `file`, never a fixed value."""
        value = self._read(name, "")
        if value:
            return value
        if required:
            raise ImproperlyConfigured(f"{name} must be set when DEBUG is off.")
        return kept(file, make)

    def misspelt(self) -> Iterator[str]:
        """To be asked when all is read: a sentence for each name that is set and that nothing reads.

        Of the process's own variables, most of which are not ours, only what begins like ours and resembles one.
        """
        for name in dict.fromkeys([*self._written, *sorted(os.environ)]):
            if name in self.declared:
                continue
            ours = name.upper().startswith(PREFIXES)
            near = difflib.get_close_matches(name.upper(), self.declared, n=1, cutoff=ALIKE)
            if near and (ours or name in self._written):
                yield f"{name} is set, and nothing reads it: do you mean {near[0]}?"
            elif ours and name in self._written:
                yield f"{name} is set in .env, and nothing reads it: .env.example shows all that there is."

    def _read(self, name: str, default: str, range_: str = "") -> str:
        self.declared[name] = Variable(name, default, range_)
        return str(self._env.str(name, default="")).strip()

    def _number(
        self, name: str, default: float, parse: Callable[[str], float], wanted: str, low: float, high: float
    ) -> float:
        value = self._read(name, _written(default), f"{_written(low)} to {_written(high)}")
        if not value:
            return default
        try:
            number = parse(name)
        except ValueError:
            raise ImproperlyConfigured(f"{name} must be {wanted}, not {value!r}.") from None
        if not low <= number <= high:  # also refuses NaN
            raise ImproperlyConfigured(f"{name} must be {wanted}, not {value!r}.")
        return number

    def _check_url(self, name: str, url: str, schemes: tuple[str, ...], example: str) -> None:
        # The value is not repeated in the message: it may hold a password.
        problem = ImproperlyConfigured(f"{name} must be an address like {example}.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise problem from None
        if parts.scheme not in schemes or port == 0:
            raise problem


def _written(number: float) -> str:
    """A number as people write it."""
    return str(int(number)) if number == int(number) else str(number)


def kept(file: Path, make: Callable[[], str]) -> str:
    """The content of `file` (mode 0600), made by `make` if there is none; two processes at once get the same."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(make())
            try:
                os.link(draft, file)  # whole or not at all, and only the first one wins
            except FileExistsError:
                pass
        return file.read_text().strip()
    except PermissionError:
        raise ImproperlyConfigured(
            f"{file} belongs to another user: run Claudia as that user, or remove {file.parent}."
        ) from None
    finally:
        draft.unlink(missing_ok=True)
