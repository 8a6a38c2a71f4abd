"""All settings, read once from the environment (and `.env`); see `.env.example` for what can be set."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from claudia.environment import Environment
from claudia.logs import configuration

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(BASE_DIR / ".env")
LOCAL_DIR = Path(env.text("LOCAL_DIR") or BASE_DIR / ".local")  # what a development server keeps: secrets, database

# -- the basics -------------------------------------------------------------------------------------------------------

DEBUG = env.flag("DEBUG", True)
SECRET_KEY = env.secret(
    "SECRET_KEY", file=LOCAL_DIR / "secret_key", make=lambda: secrets.token_urlsafe(50), required=not DEBUG
)
PORT = env.integer("PORT", 8000, low=1, high=65_535)  # of `serve`
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.names("CSRF_TRUSTED_ORIGINS", [])

INSTALLED_APPS = [
    "daphne",
    # How the admin looks: the app without its own site, and templates of the filters that we use.
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "claudia.apps.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "pgtrigger",
    "claudia.apps.ClaudiaConfig",
    "accounts",
    "projects",
    "agents",
    "conversations",
    "memory",
    "syncing",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "claudia.content_security.ContentSecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "claudia.middleware.ActorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "claudia.urls"
ASGI_APPLICATION = "claudia.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# -- the database -----------------------------------------------------------------------------------------------------


DATABASE_URL = env.text("DATABASE_URL")  # empty: `serve` starts an embedded server


def _database_url() -> str:
    """`DATABASE_URL`, or that of the server that `make run` started, so that commands beside it find it."""
    if DATABASE_URL:
        return DATABASE_URL
    if not DEBUG:
        raise ImproperlyConfigured("DATABASE_URL must be set when DEBUG is off.")
    try:
        return str(json.loads((LOCAL_DIR / "dev.json").read_text())["database_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return "postgres://claudia@127.0.0.1:5432/claudia"


DATABASES: dict[str, dict[str, Any]] = {"default": env.database("DATABASE_URL", _database_url())}
DATABASES["default"]["CONN_MAX_AGE"] = 0  # the pool keeps connections; Django must give them back after each request
DATABASES["default"]["OPTIONS"].update(
    # A thread that waits longer than `timeout` for a connection gets an error: overload is refused, not queued.
    pool={"min_size": 1, "max_size": env.integer("DATABASE_POOL_SIZE", 16, low=2, high=500), "timeout": 10},
)
# Behind a pooler in transaction mode nothing of a session outlives a transaction: the engine listens past it.
DATABASE_POOLER = env.choice("DATABASE_POOLER", "NONE", ["NONE", "TRANSACTION"])
SYNC_DATABASE_URL = env.text("SYNC_DATABASE_URL")  # of PostgreSQL itself; empty: DATABASE_URL is
SYNC_DATABASE: dict[str, Any] | None = None
if SYNC_DATABASE_URL:
    SYNC_DATABASE = env.database("SYNC_DATABASE_URL", SYNC_DATABASE_URL)
    if not DATABASE_URL:
        raise ImproperlyConfigured("DATABASE_URL must be set when SYNC_DATABASE_URL is.")
elif DATABASE_POOLER != "NONE":
    raise ImproperlyConfigured("SYNC_DATABASE_URL must be set, to PostgreSQL itself, when DATABASE_POOLER is.")
if DATABASE_POOLER == "TRANSACTION":
    DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
    DATABASES["default"]["OPTIONS"]["prepare_threshold"] = None
TEST_DATABASE_URL = env.text("TEST_DATABASE_URL")
if TEST_DATABASE_URL:
    env.database("TEST_DATABASE_URL", TEST_DATABASE_URL)

BACKUP_DIR = env.text("BACKUP_DIR") or str(LOCAL_DIR / "backups")
BACKUP_KEEP = env.integer("BACKUP_KEEP", 7, low=1, high=1000)  # by the maintenance task
POSTGRES_BIN = env.text("POSTGRES_BIN")  # the folder of pg_dump and pg_restore; empty: those that are found

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# -- Redis: only presence and other ephemeral messages, never synced changes ------------------------------------------

REDIS_URL = env.redis("REDIS_URL")
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if REDIS_URL:
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            # The client's own defaults (few connections, a short socket timeout) kill idle consumers. A read that waits
            # for a message takes 5 s; a process holds a handful of connections.
            "hosts": [
                {
                    "address": REDIS_URL,
                    "max_connections": 100,
                    "socket_timeout": 30,
                    "socket_connect_timeout": 2,
                    "socket_keepalive": True,
                    "health_check_interval": 15,
                }
            ],
            "expiry": 10,  # seconds: what nobody has fetched by then is worth nothing
            "group_expiry": 600,  # of processes that ended without a word; the others say again that they listen
            "capacity": 1000,  # messages that wait for a process; more are dropped
        },
    }

# -- people -----------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# Secret values of projects are encrypted with the first key; the others still decrypt, so that keys can be rotated.
FIELD_ENCRYPTION_KEYS = [
    key.strip()
    for key in env.secret(
        "FIELD_ENCRYPTION_KEY",
        file=LOCAL_DIR / "field_encryption_key",
        make=lambda: Fernet.generate_key().decode(),
        required=not DEBUG,
    ).split(",")
    if key.strip()
]
try:
    for _key in FIELD_ENCRYPTION_KEYS:
        Fernet(_key)
except ValueError:
    raise ImproperlyConfigured(
        "FIELD_ENCRYPTION_KEY must be one or more Fernet keys (32 bytes in URL-safe base64), separated by commas."
    ) from None

# -- sync -------------------------------------------------------------------------------------------------------------

SYNC_ENABLED = env.flag("SYNC_ENABLED", True)
SYNC_AUTO_RESOLVE = env.flag("SYNC_AUTO_RESOLVE", True)  # off: every conflict waits for a human
SYNC_BATCH_SIZE = env.integer("SYNC_BATCH_SIZE", 10_000, low=100, high=1_000_000)  # events of one step kept in memory
SYNC_RETENTION_DAYS = env.integer("SYNC_RETENTION_DAYS", 7, low=1, high=14)  # the log is a ring of 16 days
SYNC_POLL_SECONDS = env.number("SYNC_POLL_SECONDS", 1, low=0, high=3600)  # slow poll behind the pokes; 0: none
SYNC_SNAPSHOT_READERS = env.integer("SYNC_SNAPSHOT_READERS", 2, low=1, high=64)  # threads that read snapshots
SYNC_SNAPSHOT_CACHE_BYTES = env.integer("SYNC_SNAPSHOT_CACHE_BYTES", 67_108_864, low=0, high=17_179_869_184)
SYNC_REPLICA_URL = env.standby("SYNC_REPLICA_URL")  # a streaming standby that snapshots are read on; empty: none
SYNC_REPLICA_LAG_SECONDS = env.number("SYNC_REPLICA_LAG_SECONDS", 1, low=0, high=60)  # further behind it is not used
SYNC_MAX_SUBSCRIPTIONS = env.integer("SYNC_MAX_SUBSCRIPTIONS", 100, low=1, high=10_000)  # of one connection
SYNC_FRAME_BYTES = env.integer("SYNC_FRAME_BYTES", 1_048_576, low=65_536, high=16_777_216)
SYNC_FRAMES_PER_SECOND = env.number("SYNC_FRAMES_PER_SECOND", 50, low=1, high=10_000)  # from one connection
SYNC_WRITERS = env.integer("SYNC_WRITERS", 4, low=1, high=64)  # threads that apply mutations
SYNC_MUTATIONS_PER_FRAME = env.integer("SYNC_MUTATIONS_PER_FRAME", 100, low=1, high=10_000)
SYNC_MUTATIONS_PER_SECOND = env.number("SYNC_MUTATIONS_PER_SECOND", 50, low=0.1, high=100_000)  # of one client
SYNC_RECEIPT_DAYS = env.number("SYNC_RECEIPT_DAYS", 30, low=0.01, high=3650)  # older mutations are expired
SYNC_ARCHIVE_DIR = env.text("SYNC_ARCHIVE_DIR")  # where prune_sync keeps what it takes away; empty: nowhere
SYNC_CLIENT_DAYS = env.integer("SYNC_CLIENT_DAYS", 90, low=15, high=3650)  # for which an absent client is remembered
SYNC_CONFLICT_DAYS = env.integer("SYNC_CONFLICT_DAYS", 90, low=1, high=3650)  # for which a decided conflict is kept
AUDIT_RETENTION_DAYS = env.integer("AUDIT_RETENTION_DAYS", 730, low=30, high=36_500)  # what staff did, and read
SYNC_CANARY_SECONDS = env.number("SYNC_CANARY_SECONDS", 0, low=0, high=86_400)  # each follows for so long; 0: none
STOP_WAIT_SECONDS = env.number("STOP_WAIT_SECONDS", 0, low=0, high=300)  # /readyz says no, all else goes on
SYNC_METRICS_SECONDS = env.number("SYNC_METRICS_SECONDS", 10, low=0, high=600)  # between writes of metrics; 0: none
METRICS_RETENTION_DAYS = env.integer("METRICS_RETENTION_DAYS", 30, low=1, high=3650)
MONITORING_INTERVAL = env.number("MONITORING_INTERVAL", 5, low=1, high=3600)  # seconds
METRICS_TOKEN = env.text("METRICS_TOKEN")  # empty: only this machine may ask for /metrics

# Hours from one beginning of a maintenance task to the next; 0: only when somebody asks.
MAINTAIN_WHILE_SERVING = env.flag("MAINTAIN_WHILE_SERVING", True)  # by `serve`, in the background
MAINTAIN_SWEEP_CONFLICTS_HOURS = env.number("MAINTAIN_SWEEP_CONFLICTS_HOURS", 1, low=0, high=8760)
MAINTAIN_PRUNE_METRICS_HOURS = env.number("MAINTAIN_PRUNE_METRICS_HOURS", 1, low=0, high=8760)
MAINTAIN_EXPIRE_MEMORIES_HOURS = env.number("MAINTAIN_EXPIRE_MEMORIES_HOURS", 1, low=0, high=8760)
MAINTAIN_PRUNE_SYNC_HOURS = env.number("MAINTAIN_PRUNE_SYNC_HOURS", 1, low=0, high=8760)
MAINTAIN_BACKUP_HOURS = env.number("MAINTAIN_BACKUP_HOURS", 0, low=0, high=8760)
MAINTAIN_CLEARSESSIONS_HOURS = env.number("MAINTAIN_CLEARSESSIONS_HOURS", 24, low=0, high=8760)

# From where on something is an issue, and how often the servers look whether anything is.
ALERT_SECONDS = env.number("ALERT_SECONDS", 15, low=0, high=3600)  # 0: never
ALERT_LATENCY_MS = env.number("ALERT_LATENCY_MS", 1000, low=1, high=600_000)
ALERT_LAG_SECONDS = env.number("ALERT_LAG_SECONDS", 15, low=0.1, high=3600)  # a client that reads nothing
ALERT_PENDING_EVENTS = env.integer("ALERT_PENDING_EVENTS", 10_000, low=1, high=100_000)
ALERT_CONFLICTS = env.integer("ALERT_CONFLICTS", 100, low=1, high=1_000_000)
ALERT_TRANSACTION_SECONDS = env.number("ALERT_TRANSACTION_SECONDS", 60, low=0.1, high=86_400)
ALERT_DISK_FREE_PERCENT = env.number("ALERT_DISK_FREE_PERCENT", 10, low=0.1, high=100)
ALERT_CONNECTIONS_PERCENT = env.number("ALERT_CONNECTIONS_PERCENT", 90, low=1, high=100)

# Where alerts go beside the log; none of it is on by default.
ALERT_WEBHOOK_URL = env.web_address("ALERT_WEBHOOK_URL")
ALERT_EMAILS = env.names("ALERT_EMAILS", [])
ALERT_EMAIL_FROM = env.text("ALERT_EMAIL_FROM", "claudia@localhost")
vars().update(env.mail("EMAIL_URL", required=bool(ALERT_EMAILS)))  # EMAIL_HOST and the like
EMAIL_TIMEOUT = 10

# -- language, time, files --------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = ["claudia.formats"]  # short dates, 24 hours
STATIC_URL = "/static/"
STATIC_ROOT = env.text("STATIC_ROOT") or str(LOCAL_DIR / "static")

# -- security ---------------------------------------------------------------------------------------------------------

X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", True) and not DEBUG
_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", 31_536_000, low=0, high=63_072_000)
if not DEBUG:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # nginx in front sets it, and overwrites a client's
    SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # asked by machines inside, without TLS
    SECURE_HSTS_SECONDS = _HSTS_SECONDS
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True

# -- logs -------------------------------------------------------------------------------------------------------------

LOGGING = configuration(
    env.choice("LOG_FORMAT", "LINE" if DEBUG else "JSON", ["JSON", "LINE"]),
    env.choice("LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
)

# -- what is set and not read -----------------------------------------------------------------------------------------

MISSPELT = list(env.misspelt())  # logged at start
