"""Sessions of writers that are unlike ours: other roles, settings, and triggers that are told not to fire."""

from __future__ import annotations

from tests.nemesis.campaign import Campaign, Ordinary

ROLE = """
    CREATE ROLE nemesis_writer NOLOGIN;
    GRANT SELECT, INSERT, UPDATE, DELETE ON public.users, public.projects, public.collaborators, public.agents,
        public.sessions, public.messages, public.memory TO nemesis_writer;
"""
ELSEWHERE = (
    "SET search_path = pg_temp",
    "SET TimeZone = 'Asia/Kathmandu'",
    "SET IntervalStyle = 'sql_standard'",
    "SET DateStyle = 'SQL, DMY'",
    "SET extra_float_digits = -5",
    "SET bytea_output = 'escape'",
)
REPLICA, ROLED = "SET session_replication_role = replica", "SET ROLE nemesis_writer"
REPEATABLE = "SET default_transaction_isolation = 'repeatable read'"
#: Of writers who take turns. `OtherRole` must have made the role.
MANNERS = ((), ELSEWHERE, (REPLICA, *ELSEWHERE), (*ELSEWHERE, ROLED), (REPLICA, REPEATABLE, ROLED))


class OtherRole(Ordinary):
    """There is a role that may write, and nothing else."""

    strikes = 0

    async def begin(self, campaign: Campaign) -> None:
        campaign.site.db.execute(ROLE)
