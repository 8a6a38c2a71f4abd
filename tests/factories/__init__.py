"""One factory for each synced model: what makes a valid row with nothing said about it."""

from tests.factories.accounts import ApiTokenFactory, UserFactory
from tests.factories.agents import AgentFactory
from tests.factories.conversations import MessageFactory, SessionFactory
from tests.factories.memory import MemoryFactory
from tests.factories.projects import CollaboratorFactory, ProjectFactory

__all__ = [
    "AgentFactory",
    "ApiTokenFactory",
    "CollaboratorFactory",
    "MemoryFactory",
    "MessageFactory",
    "ProjectFactory",
    "SessionFactory",
    "UserFactory",
]
