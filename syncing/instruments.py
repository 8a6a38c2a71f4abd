"""What the engine measures of itself: names, units, labels, and what each means. docs/monitoring.md shows the same.

A counter counts what happens. A gauge is a level that rises and falls; those of all processes add up. A distribution
keeps how large values are, in a sketch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How values of a metric become one."""

    COUNTER = "counter"
    GAUGE = "gauge"
    DISTRIBUTION = "distribution"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric of the engine's own.

    idle: it moves on a server where nothing happens, too, and is no reason to write by itself.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    idle: bool = False


COUNTER, GAUGE, DISTRIBUTION = Kind

#: By name, in the order in which a change travels.
INSTRUMENTS = {
    one.name: one
    for one in (
        Instrument(
            "changes",
            COUNTER,
            "events",
            "entries of the log, counted by the process that took the checkpoint at which they left",
            ("table", "operation"),
        ),
        Instrument("steps", COUNTER, "steps", "checkpoints with something new, counted as `changes` are"),
        Instrument(
            "write_to_checkpoint_seconds",
            DISTRIBUTION,
            "s",
            "from each write, by the database's clock, to the checkpoint; measured where it is taken",
        ),
        Instrument(
            "checkpoint_to_socket_seconds",
            DISTRIBUTION,
            "s",
            "from a checkpoint to the moment when all frames of its step were handed to their sockets; one value a"
            " step and process that told somebody",
        ),
        Instrument(
            "delivery_seconds",
            DISTRIBUTION,
            "s",
            "from each write to that moment, in each process that told somebody of its step",
        ),
        Instrument(
            "resets", COUNTER, "tables", "tables of which a step said only that shapes are staged anew", ("table",)
        ),
        Instrument("frames_sent", COUNTER, "frames", "frames handed to sockets", idle=True),
        Instrument("bytes_sent", COUNTER, "bytes", "bytes of these frames, headers included, as compressed", idle=True),
        Instrument("frames_received", COUNTER, "frames", "frames that clients sent", idle=True),
        Instrument("clients", GAUGE, "clients", "clients that said hello and are connected", idle=True),
        Instrument(
            "clients_behind", GAUGE, "clients", "of these, those that are being brought up, or do not read", idle=True
        ),
        Instrument(
            "client_lag_seconds",
            DISTRIBUTION,
            "s",
            "for how long each connected client has been told nothing while it is behind, 0 for the others; looked"
            " at once a window",
            idle=True,
        ),
        Instrument("connections_opened", COUNTER, "connections", "clients that said hello and were let in"),
        Instrument("connections_closed", COUNTER, "connections", "sockets that were closed, by the code", ("code",)),
        Instrument("snapshots", COUNTER, "shapes", "shapes whose rows were staged whole and became ready"),
        Instrument("snapshot_bytes", COUNTER, "bytes", "rows that were read for snapshots, as text"),
        Instrument("standby_bytes", COUNTER, "bytes", "of `snapshot_bytes`, those that were read on the standby"),
        Instrument(
            "standby_refusals",
            COUNTER,
            "rounds",
            "rounds that were read on the primary, or begun again there, although there is a standby; by why",
            ("reason",),
        ),
        Instrument(
            "catch_ups", COUNTER, "clients", "clients that were away, or fell behind, and were told what they missed"
        ),
        Instrument(
            "fell_behind", COUNTER, "clients", "clients that did not read what was sent to them, and were left to it"
        ),
        Instrument("ephemeral_said", COUNTER, "messages", "ephemeral messages that clients said, handed to Redis"),
        Instrument("ephemeral_heard", COUNTER, "frames", "frames in which clients were told of them"),
        Instrument("ephemeral_lost", COUNTER, "messages", "ephemeral messages that Redis did not take"),
        Instrument("staging_retries", COUNTER, "clients", "stagings that came to nothing and were begun again"),
        Instrument(
            "mutations",
            COUNTER,
            "mutations",
            "mutations answered for the first time: applied, merged, conflict or rejected",
            ("status",),
        ),
        Instrument("mutations_replayed", COUNTER, "mutations", "copies of mutations that were answered before"),
        Instrument(
            "mutations_refused", COUNTER, "mutations", "mutations that got an error instead of an answer", ("code",)
        ),
        Instrument("mutation_seconds", DISTRIBUTION, "s", "from taking a mutation in to its answer, waiting included"),
        Instrument(
            "transaction_retries",
            COUNTER,
            "transactions",
            "transactions of mutations that met another one and were tried again",
        ),
        Instrument("conflicts_opened", COUNTER, "conflicts", "conflicts that wait for a person", ("table",)),
        Instrument(
            "conflicts_resolved",
            COUNTER,
            "conflicts",
            "conflicts that were settled, by whom- or whatever",
            ("table", "how"),
        ),
    )
}
