"""Backups of the whole database: taken, verified, restored.

A backup is a folder `NAME-TIME` with two files: `database.dump`, which `pg_dump` wrote in its custom format, and
`manifest.json`, which says what must come out of it. It is made under another name and published by one rename, so that
it is there whole or not at all. Restoring makes a database beside the old one and exchanges their names in one
transaction, so that at any moment there is either the old one or the new one under the name that servers know.
"""
