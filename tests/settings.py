"""Claudia's settings as the tests want them; conftest.py fills in the address of the test database."""

from claudia.settings import *  # noqa: F403
from claudia.settings import DATABASES

# Transactional tests flush by TRUNCATE, which the triggers of synced tables refuse unless this is on.
DATABASES["default"]["OPTIONS"]["options"] = "-c claudia.allow_truncate=on"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # hashing well is slow on purpose
SYNC_METRICS_SECONDS = 0  # who writes metrics in a test does so itself
