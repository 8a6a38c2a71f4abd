"""Who and what is there before anybody writes at random."""

from __future__ import annotations

from dataclasses import dataclass

from tests.acceptance.site import Person, Site

TEXTS = ["plain", "ünï ☃ 𝄞", 'line\nbreak "quoted" \\ back', "%_", "\u2028\ufeff", ""]


@dataclass(frozen=True)
class Group:
    """Rows that are always changed together: a session, its messages, and a memory of it."""

    name: str
    session: str
    memory: str


@dataclass
class Stage:
    """People, projects and groups that are there from the beginning."""

    people: list[Person]
    projects: list[str]
    groups: list[Group]

    @classmethod
    def set(cls, site: Site, people: int = 4, projects: int = 3, messages: int = 6) -> Stage:
        """Each person owns or shares some of the projects; a group in each project."""
        cast = [site.person(f"person{n}") for n in range(people)]
        made = [site.project(cast[n % people], f"Project {n}") for n in range(projects)]
        for n, project in enumerate(made):
            site.share(project, cast[(n + 1) % people])
        groups = []
        for n, project in enumerate(made):
            session = site.session(cast[n % people], project, f"⟦group{n}:0⟧")
            for _ in range(messages):
                site.message(session, f"⟦group{n}:0⟧")
            memory = site.memory(f"group{n}", session_id=session, summary=f"⟦group{n}:0⟧")
            groups.append(Group(f"group{n}", session, memory))
            for title in TEXTS[:3]:
                site.message(site.session(cast[(n + 2) % people], project, title), title)
        for person in cast:
            site.message(site.session(person, None, "of one's own"))
        return cls(cast, made, groups)
