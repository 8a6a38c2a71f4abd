"""How much there is: rows by model, and bytes. Cheap, however large the tables are: no table is read through."""

from __future__ import annotations

from dataclasses import dataclass

from django.apps import apps
from django.db import connection

#: Tables of up to so many rows are counted; of larger ones the planner's estimate is told.
COUNTED = 10_000

# As the planner does: rows a page at the last ANALYZE or VACUUM, times the pages that there are now; where there was
# neither, what the statistics collector believes. A partitioned table is what its leaves are.
SIZES = """
    SELECT wanted.name, sum(CASE
            WHEN c.reltuples > 0 AND c.relpages > 0
            THEN c.reltuples / c.relpages * pg_relation_size(c.oid) / current_setting('block_size')::int
            ELSE coalesce(pg_stat_get_live_tuples(c.oid), 0) END)::bigint,
        sum(pg_total_relation_size(c.oid))::bigint
    FROM unnest(%s::text[]) AS wanted (name)
    CROSS JOIN LATERAL (
        SELECT relid FROM pg_partition_tree(to_regclass('public.' || quote_ident(wanted.name))) WHERE isleaf
        UNION SELECT to_regclass('public.' || quote_ident(wanted.name))
    ) AS part
    JOIN pg_class c ON c.oid = part.relid
    GROUP BY wanted.name
"""
DATABASE_SIZE = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True, slots=True)
class TableUsage:
    """A model's table. estimated: `rows` is the planner's estimate. bytes: with indexes and large values."""

    model: str
    table: str
    rows: int
    estimated: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """By table, the largest first; and the whole database."""

    tables: list[TableUsage]
    database_bytes: int


def usage() -> Usage:
    """What the models' tables hold now."""
    models = {model._meta.db_table: model._meta.label for model in apps.get_models() if not model._meta.proxy}
    with connection.cursor() as cursor:
        cursor.execute(SIZES, [list(models)])
        sizes = cursor.fetchall()
        tables = []
        for table, estimate, size in sizes:
            # The first few rows are read: that many are there, or more.
            name = connection.ops.quote_name(table)
            cursor.execute(f"SELECT count(*) FROM (SELECT FROM public.{name} LIMIT %s) AS rows", [COUNTED + 1])
            counted = cursor.fetchone()[0]
            estimated = counted > COUNTED
            rows = max(estimate, counted) if estimated else counted
            tables.append(TableUsage(models[table], table, rows, estimated, size))
        cursor.execute(DATABASE_SIZE)
        return Usage(sorted(tables, key=lambda one: -one.bytes), cursor.fetchone()[0])
