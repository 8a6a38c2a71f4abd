"""What went wrong with the database server, in one sentence for a person."""


class PostgresProblem(Exception):
    """The database server cannot be used."""
