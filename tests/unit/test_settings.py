"""The environment is read strictly: what is wrong is refused at start, by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from claudia.environment import NOTICED_SOON, Environment, kept

ROOT = Path(__file__).resolve().parent.parent.parent
READ = "import json, claudia.settings as s; print(json.dumps([getattr(s, n) for n in {names!r}], default=str))"


def read_settings(tmp_path: Path, *names: str, **variables: str) -> str:
    """Settings as a fresh process reads them, as JSON; or what it says instead."""
    env = {"PATH": os.environ["PATH"], "LOCAL_DIR": str(tmp_path / "local")} | variables
    command = [sys.executable, "-c", READ.format(names=names)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    return (done.stdout or done.stderr.strip().splitlines()[-1]).strip()


@pytest.mark.parametrize("value", ["ten", "1.5", "99", "2001", "-1", "NaN", "１００x"])
def test_an_integer_that_is_none_or_out_of_range_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("BATCH", value)
    with pytest.raises(
        ImproperlyConfigured, match=rf"^BATCH must be a whole number from 100 to 2000, not '{value}'\.$"
    ):
        Environment().integer("BATCH", 1000, low=100, high=2000)


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "-0.1", "3601"])
def test_a_number_that_is_none_or_out_of_range_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("POLL", value)
    with pytest.raises(ImproperlyConfigured, match=rf"^POLL must be a number from 0 to 3600, not '{value}'\.$"):
        Environment().number("POLL", 1, low=0, high=3600)


@pytest.mark.parametrize("value", ["maybe", "2", "tru"])
def test_a_flag_that_is_neither_yes_nor_no_is_refused_instead_of_read_as_no(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SYNC", value)
    with pytest.raises(ImproperlyConfigured, match=r"^SYNC must be 1 or 0"):
        Environment().flag("SYNC", True)


@pytest.mark.parametrize("value", ["", "   "])
def test_a_blank_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name in ("FLAG", "COUNT", "HOSTS", "REDIS"):
        monkeypatch.setenv(name, value)
    env = Environment()
    assert env.flag("FLAG", True) is True
    assert env.integer("COUNT", 7, low=1, high=9) == 7
    assert env.names("HOSTS", ["localhost"]) == ["localhost"]
    assert env.redis("REDIS") is None


@pytest.mark.parametrize(
    "url",
    ["mysql://u@h/d", "postgres", "postgres://u:secret@h:port/d", "postgres://u@h:99999/d", "postgres://u@h:5432/", ""],
)
def test_an_address_that_is_no_postgres_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL must ") as refused:
        Environment().database("DATABASE_URL", url)
    assert "secret" not in str(refused.value)


def test_a_database_address_keeps_its_escaped_password_and_options() -> None:
    found = Environment().database("DATABASE_URL", "postgres://me:p%40ss@db.example:6432/name?sslmode=require")
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"]) == ("me", "p@ss", "db.example", 6432)
    assert (found["NAME"], found["OPTIONS"]) == ("name", NOTICED_SOON | {"sslmode": "require"})
    assert found["ENGINE"] == "django.db.backends.postgresql"


def test_a_server_that_is_gone_is_noticed_as_soon_as_the_address_says() -> None:
    found = Environment().database("DATABASE_URL", "postgres://me@db/name?tcp_user_timeout=3000&keepalives_idle=60")
    assert found["OPTIONS"] == NOTICED_SOON | {"tcp_user_timeout": 3000, "keepalives_idle": 60}


def test_the_variables_of_the_process_win_over_the_dotenv_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FROM_FILE=file\nFROM_BOTH=file\n")
    monkeypatch.setenv("FROM_BOTH", "process")
    monkeypatch.delenv("FROM_FILE", raising=False)
    env = Environment(tmp_path / ".env")
    monkeypatch.setenv("FROM_FILE", os.environ["FROM_FILE"])  # so that monkeypatch removes what the file brought
    assert (env.text("FROM_FILE"), env.text("FROM_BOTH")) == ("file", "process")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "0"),
        ("PORT", "http"),
        ("SYNC_BATCH_SIZE", "lots"),
        ("SYNC_RETENTION_DAYS", "15"),
        ("SYNC_POLL_SECONDS", "-1"),
        ("SYNC_ENABLED", "perhaps"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("DATABASE_URL", "sqlite:///db"),
        ("TEST_DATABASE_URL", "nowhere"),
        ("FIELD_ENCRYPTION_KEY", "too-short"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "XML"),
        ("ALERT_SECONDS", "-1"),
        ("ALERT_DISK_FREE_PERCENT", "101"),
        ("ALERT_TRANSACTION_SECONDS", "0"),
        ("ALERT_WEBHOOK_URL", "chat.example.com/hook"),
        ("ALERT_WEBHOOK_URL", "file:///etc/passwd"),
        ("ALERT_WEBHOOK_URL", "https://"),
        ("EMAIL_URL", "mail.example.com"),
    ],
)
def test_claudia_does_not_start_with_nonsense_in(tmp_path: Path, variable: str, value: str) -> None:
    said = read_settings(tmp_path, "DEBUG", **{variable: value})
    assert said.startswith(f"django.core.exceptions.ImproperlyConfigured: {variable} must be ")


def test_production_demands_its_secrets_and_makes_none_up(tmp_path: Path) -> None:
    given: dict[str, str] = {"DEBUG": "0"}
    secrets = {
        "SECRET_KEY": "s" * 50,
        "DATABASE_URL": "postgres://u@h/d",
        "FIELD_ENCRYPTION_KEY": Fernet.generate_key(),
    }
    for name, value in secrets.items():
        said = read_settings(tmp_path, "DEBUG", **given)
        assert said == f"django.core.exceptions.ImproperlyConfigured: {name} must be set when DEBUG is off."
        given[name] = value if isinstance(value, str) else value.decode()
    names = ["SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_SSL_REDIRECT", "DEBUG"]
    assert read_settings(tmp_path, *names, **given) == "[true, true, true, false]"
    assert not (tmp_path / "local").exists()


def test_development_draws_its_secrets_once(tmp_path: Path) -> None:
    first = read_settings(tmp_path, "SECRET_KEY", "FIELD_ENCRYPTION_KEYS")
    assert first == read_settings(tmp_path, "SECRET_KEY", "FIELD_ENCRYPTION_KEYS")
    assert first != read_settings(tmp_path / "other", "SECRET_KEY", "FIELD_ENCRYPTION_KEYS")
    for name in ("secret_key", "field_encryption_key"):
        assert (tmp_path / "local" / name).stat().st_mode & 0o777 == 0o600


def test_two_that_draw_a_secret_at_once_get_the_same(tmp_path: Path) -> None:
    barrier, drawn = threading.Barrier(8), []

    def draw(number: int) -> None:
        def make() -> str:
            barrier.wait(timeout=10)  # all have seen that there is none yet
            return f"secret-{number}"

        drawn.append(kept(tmp_path / "secret", make))

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 8
    assert len(set(drawn)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_mail_needs_a_server(tmp_path: Path) -> None:
    said = read_settings(tmp_path, "DEBUG", ALERT_EMAILS="ops@example.com")
    assert said.endswith("EMAIL_URL must be set when ALERT_EMAILS is.")
    given = {
        "ALERT_EMAILS": "ops@example.com, boss@example.com",
        "EMAIL_URL": "smtp+tls://me:p%40ss@mail.example.com:587",
    }
    names = ["ALERT_EMAILS", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_PASSWORD", "EMAIL_USE_TLS"]
    assert json.loads(read_settings(tmp_path, *names, **given)) == [
        ["ops@example.com", "boss@example.com"], "mail.example.com", 587, "p@ss", True,
    ]  # fmt: skip


def test_logs_are_json_in_production_and_readable_in_development(tmp_path: Path) -> None:
    production = {
        "DEBUG": "0",
        "SECRET_KEY": "s" * 50,
        "DATABASE_URL": "postgres://u@h/d",
        "FIELD_ENCRYPTION_KEY": Fernet.generate_key().decode(),
    }
    assert "JsonLineFormatter" in read_settings(tmp_path, "LOGGING", **production)
    assert "LineFormatter" in read_settings(tmp_path, "LOGGING").replace("JsonLineFormatter", "")
    assert "JsonLineFormatter" in read_settings(tmp_path, "LOGGING", LOG_FORMAT="json")


@pytest.mark.parametrize(
    "url", ["mysql://standby/claudia", "standby", "postgres://standby", "postgres://standby:port/claudia"]
)
def test_a_standby_that_has_no_address_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REPLICA", url)
    with pytest.raises(ImproperlyConfigured, match=r"^REPLICA must be an address like postgres://"):
        Environment().standby("REPLICA")


def test_several_standbys_are_named_as_libpq_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Environment().standby("REPLICA") == ""
    url = "postgres://claudia:secret@one,two:5433/claudia?target_session_attrs=standby"
    monkeypatch.setenv("REPLICA", url)
    assert Environment().standby("REPLICA") == url
