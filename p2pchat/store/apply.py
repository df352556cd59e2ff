"""Apply operations to the database, in order, within one open transaction.

What each operation means is written with its type in :mod:`p2pchat.core.ops`. Every change of a message's state is a
conditional ``UPDATE``: a condition that does not hold changes nothing and records nothing, so a tick never goes back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import assert_never

from p2pchat.core import ops
from p2pchat.store import apply_incoming, apply_letters, apply_outgoing, apply_peers
from p2pchat.store.interface import CommitResult
from p2pchat.store.transaction import Transaction


def apply_ops(connection: sqlite3.Connection, operations: Sequence[ops.Op]) -> CommitResult:
    """Apply operations; the caller began a transaction and commits it, or rolls it back if this raises."""
    transaction = Transaction(connection)
    for op in operations:
        _apply(transaction, op)
    recorded = transaction.finish()
    return CommitResult(tuple(transaction.outcomes), recorded)


def _apply(tx: Transaction, op: ops.Op) -> None:
    match op:
        case ops.InsertOutgoing():
            apply_outgoing.insert(tx, op)
        case ops.MarkDelivered():
            apply_outgoing.mark_delivered(tx, op)
        case ops.ApplyIncoming():
            apply_incoming.apply(tx, op)
        case ops.MarkSent():
            apply_outgoing.mark_sent(tx, op)
        case ops.MarkTransmitted():
            apply_outgoing.mark_transmitted(tx, op)
        case ops.MarkReadByPeer():
            apply_outgoing.mark_read_by_peer(tx, op)
        case ops.RecordAttempt():
            apply_outgoing.record_attempt(tx, op)
        case ops.ResetAttempts():
            apply_outgoing.reset_attempts(tx, op)
        case ops.BeginCancel():
            apply_outgoing.begin_cancel(tx, op)
        case ops.FinishCancel():
            apply_outgoing.finish_cancel(tx, op)
        case _:
            _apply_rarer(tx, op)


def _apply_rarer(
    tx: Transaction,
    op: ops.QueryOutgoing
    | ops.MoveToDeadLetters
    | ops.ReviveLetter
    | ops.SettleLetters
    | ops.RemoveLetters
    | ops.MarkReadByUs
    | ops.ReadTold
    | ops.QueryApplied
    | ops.QueryStream
    | ops.UpsertPeer
    | ops.RememberAddress
    | ops.NotePresence
    | ops.ForgetPeer
    | ops.NoteStream
    | ops.AdoptIdentity,
) -> None:
    match op:
        case ops.QueryOutgoing():
            apply_outgoing.query(tx, op)
        case ops.MoveToDeadLetters():
            apply_letters.move(tx, op)
        case ops.ReviveLetter():
            apply_letters.revive(tx, op)
        case ops.SettleLetters():
            apply_letters.settle(tx, op)
        case ops.RemoveLetters():
            apply_letters.remove(tx, op)
        case ops.MarkReadByUs():
            apply_incoming.mark_read_by_us(tx, op)
        case ops.ReadTold():
            apply_incoming.read_told(tx, op)
        case ops.QueryApplied():
            apply_incoming.query_applied(tx, op)
        case ops.QueryStream():
            apply_outgoing.query_stream(tx, op)
        case ops.UpsertPeer():
            apply_peers.upsert(tx, op)
        case ops.RememberAddress():
            apply_peers.remember_address(tx, op)
        case ops.NotePresence():
            apply_peers.note_presence(tx, op)
        case ops.ForgetPeer():
            apply_peers.forget(tx, op)
        case ops.NoteStream():
            apply_peers.note_stream(tx, op)
        case ops.AdoptIdentity():
            apply_peers.adopt_identity(tx, op)
        case _:
            assert_never(op)
