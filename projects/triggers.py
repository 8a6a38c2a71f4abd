"""What the database does by itself about collaborators: the owner is one, and each row carries the person's name.

Rows of `users` are seen by themselves only; the name and avatar here are how people on one project see each other.
"""

from __future__ import annotations

import pgtrigger

import syncing
from accounts.models import User
from projects.rules import OWNER_STAYS

OWNER_JOINS = """
    INSERT INTO public.collaborators (project_id, user_id, role)
    SELECT project.id, project.owner_id, 'admin' FROM {source}
    ON CONFLICT (project_id, user_id) DO UPDATE SET role = 'admin' WHERE collaborators.role <> 'admin';
    RETURN NULL;
"""

#: An old owner stays on as an admin: taking the row away is somebody's decision.
OWNER_IS_COLLABORATOR = [
    syncing.DefinerTrigger(
        name="mm_owner_joins_insert",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=pgtrigger.Insert,
        referencing=pgtrigger.Referencing(new="claudia_new"),
        func=OWNER_JOINS.format(source="claudia_new AS project"),
    ),
    syncing.DefinerTrigger(
        name="mm_owner_joins_update",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=pgtrigger.Update,
        referencing=pgtrigger.Referencing(new="claudia_new", old="claudia_old"),
        func=OWNER_JOINS.format(
            source="claudia_new AS project JOIN claudia_old AS former"
            " ON former.id = project.id AND former.owner_id <> project.owner_id"
        ),
    ),
]

#: Deferred: deleting a project deletes its collaborators first, and a transfer may write in either order.
OWNER_STAYS_ADMIN = syncing.DefinerTrigger(
    name="oo_owner_stays",
    when=pgtrigger.After,
    operation=pgtrigger.Update | pgtrigger.Delete,
    timing=pgtrigger.Deferred,
    func=f"""
        IF EXISTS (
            SELECT FROM public.projects p WHERE p.id = OLD.project_id AND NOT EXISTS (
                SELECT FROM public.collaborators c
                WHERE c.project_id = p.id AND c.user_id = p.owner_id AND c.role = 'admin'
            )
        ) THEN
            RAISE check_violation USING
                MESSAGE = 'the owner of a project must stay one of its admins',
                CONSTRAINT = '{OWNER_STAYS}', TABLE = 'collaborators', SCHEMA = 'public';
        END IF;
        RETURN NULL;
    """,
)

#: FOR SHARE: a person who is renamed meanwhile is waited for, or waits for this row and renames it too.
PERSON = """
    SELECT u.name, u.avatar_url INTO NEW.user_name, NEW.user_avatar_url
    FROM public.users u WHERE u.id = NEW.user_id FOR SHARE;
    NEW.user_name := coalesce(NEW.user_name, '');
    NEW.user_avatar_url := coalesce(NEW.user_avatar_url, '');
    RETURN NEW;
"""
PERSON_OF_COLLABORATOR = [
    syncing.DefinerTrigger(name="pp_person_insert", when=pgtrigger.Before, operation=pgtrigger.Insert, func=PERSON),
    syncing.DefinerTrigger(
        name="pp_person_update",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        condition=pgtrigger.Condition(
            "ROW(OLD.user_id, OLD.user_name, OLD.user_avatar_url)"
            " IS DISTINCT FROM ROW(NEW.user_id, NEW.user_name, NEW.user_avatar_url)"
        ),
        func=PERSON,
    ),
]

RENAMED = syncing.DefinerTrigger(
    name="mm_rename_collaborators",
    level=pgtrigger.Statement,
    when=pgtrigger.After,
    operation=pgtrigger.Update,
    referencing=pgtrigger.Referencing(new="claudia_new", old="claudia_old"),
    func="""
        UPDATE public.collaborators AS c SET user_name = person.name, user_avatar_url = person.avatar_url
        FROM claudia_new AS person JOIN claudia_old AS former ON former.id = person.id
            AND (former.name, former.avatar_url) IS DISTINCT FROM (person.name, person.avatar_url)
        WHERE c.user_id = person.id;
        RETURN NULL;
    """,
)
pgtrigger.register(RENAMED)(User)
