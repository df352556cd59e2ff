"""Invites, lifetime, waits, figures and answers that fit: the parts without I/O."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from p2pchat.api.types import Letter, Message
from p2pchat.core.ops import IncomingApplied
from p2pchat.engine import invite
from p2pchat.engine.fitting import fit_bodies, fit_history
from p2pchat.engine.lifetime import Lifetime
from p2pchat.engine.stats import Counters, nearest, rss_bytes
from p2pchat.engine.waits import Waits
from p2pchat.errors import ApiError
from p2pchat.model import Address, DeviceId, MessageId, State
from p2pchat.store.notices import Recorded, Value

ID = DeviceId("a" * 52)
M1 = MessageId(bytes(16))
M2 = MessageId(bytes([1] * 16))


def recorded(
    event_id: int, name: str, message_id: MessageId | None = M1, body: str | None = None, **detail: Value
) -> Recorded:
    return Recorded(event_id, 0, name, ID, message_id, detail, body)


# --- invites ----------------------------------------------------------------------------------------------------


def test_invite_reads_what_it_wrote() -> None:
    addresses = (Address("192.168.1.7", 27270), Address("fe80::1%eth0", 27271), Address("desk.lan", 1))
    text = invite.write(ID, addresses)
    assert invite.read(text) == (addresses, ID)
    assert invite.read("  " + text[:20] + "\n" + text[20:]) == (addresses, ID)
    assert invite.read("desk.lan") == ((Address("desk.lan", 27270),), None)


@pytest.mark.parametrize(
    "text", ["", "p2pchat:", "p2pchat:abc@h:1", f"p2pchat:{ID}", f"p2pchat:{ID}@", "h:0", "*:5", "a b"]
)
def test_invite_refuses_what_cannot_be_dialled(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        invite.read(text)


# --- lifetime ---------------------------------------------------------------------------------------------------


def test_lifetime_lasts_15_s_after_start_and_last_client_and_60_s_more_while_mail_moves() -> None:
    life = Lifetime(100.0)
    assert not life.is_over(114.9, clients=0, mail_moves=False)
    assert life.is_over(115.0, clients=0, mail_moves=False)
    assert not life.is_over(500.0, clients=1, mail_moves=False)
    assert not life.is_over(514.0, clients=0, mail_moves=False)
    assert not life.is_over(574.9, clients=0, mail_moves=True)
    assert life.is_over(575.0, clients=0, mail_moves=True)
    assert life.is_over(530.0, clients=0, mail_moves=False)


# --- waits ------------------------------------------------------------------------------------------------------


async def test_wait_ends_when_the_event_comes_before_the_stored_state() -> None:
    """What happens between listening and looking is not missed, and an old look does not win over it."""
    waits, seen = Waits(), list[State]()
    wait = waits.add(M1, State.DELIVERED, seen.append)
    wait.begin(10)
    waits.publish([recorded(1, "message:sent", M2), recorded(2, "message:sent"), recorded(3, "message:delivered")])
    wait.see_stored(State.PENDING)
    assert seen == [State.DELIVERED]
    assert len(waits) == 0


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED, State.READ])
async def test_wait_ends_at_once_when_the_stored_state_is_final(state: State) -> None:
    waits, seen = Waits(), list[State]()
    wait = waits.add(M1, State.READ, seen.append)
    wait.begin(10)
    wait.see_stored(state)
    assert seen == [state]


async def test_wait_answers_with_the_state_of_the_moment_when_its_time_is_over() -> None:
    waits = Waits()
    done: asyncio.Future[State] = asyncio.get_running_loop().create_future()
    wait = waits.add(M1, State.READ, done.set_result)
    wait.begin(0.01)
    wait.see_stored(State.PENDING)
    waits.publish([recorded(1, "message:sent")])
    assert await asyncio.wait_for(done, 5) is State.SENT
    assert len(waits) == 0


async def test_wait_answers_late_when_the_store_is_slower_than_its_deadline() -> None:
    waits, seen = Waits(), list[State]()
    wait = waits.add(M1, State.READ, seen.append)
    wait.begin(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen == []
    wait.see_stored(State.PENDING)
    assert seen == [State.PENDING]


async def test_wait_says_nothing_when_it_was_dropped() -> None:
    waits, seen = Waits(), list[State]()
    wait = waits.add(M1, State.READ, seen.append)
    wait.begin(10)
    assert wait.drop()
    assert not wait.drop()
    waits.publish([recorded(1, "message:read")])
    assert seen == []


# --- figures ----------------------------------------------------------------------------------------------------


def test_counters_measure_latency_and_retries_when_messages_struggle() -> None:
    counters = Counters()
    counters.recorded(
        [
            recorded(1, "message:queued"),
            recorded(2, "retry:scheduled"),
            recorded(3, "message:sent"),
            recorded(4, "message:delivered", latency_ms=5),
            recorded(5, "message:delivered", M2, latency_ms=40),
            recorded(6, "message:moved-to-dlq", M2, attempts=5),
            recorded(7, "message:moved-to-dlq", M2, attempts=0),
            recorded(8, "message:received", M2),
        ]
    )
    counters.outcomes([IncomingApplied(ID, M1, False), IncomingApplied(ID, M1, True)])
    latency = counters.latency_ms()
    assert latency.p99 == 40.0
    assert latency.p50 is not None
    assert latency.p50 < 40
    assert counters.retry_success_rate == 0.5
    assert (counters.messages_sent, counters.messages_received, counters.duplicates_dropped) == (1, 1, 1)


def test_nearest_rank_is_a_value_that_occurred() -> None:
    assert nearest([], 0.5) is None
    assert nearest([1.0], 0.99) == 1.0
    assert nearest([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert rss_bytes() > 1_000_000


# --- answers that fit -------------------------------------------------------------------------------------------


def message(n: int, body: str) -> Message:
    return Message(
        message_id=f"{n:032x}",
        peer=ID,
        direction="in",
        author=ID,
        author_name="bob",
        body=body,
        state="read",
        sent_at_ms=0,
        received_at_ms=0,
        read_at_ms=0,
        seq=n,
        cancelling=False,
    )


@pytest.mark.parametrize(("keep_oldest", "kept"), [(True, [0, 1]), (False, [8, 9])])
def test_fit_history_keeps_the_end_that_was_asked_for_when_it_is_too_long(keep_oldest: bool, kept: list[int]) -> None:
    page = [message(n, "x" * 100) for n in range(10)]
    room = len(msgspec.json.encode(page[0])) * 2 + 10
    found = msgspec.json.decode(fit_history(page, keep_oldest=keep_oldest, room_bytes=room), type=list[Message])
    assert [entry.seq for entry in found] == kept
    assert len(msgspec.json.decode(fit_history(page, keep_oldest=keep_oldest, room_bytes=1))) == 1
    assert msgspec.json.decode(fit_history([], keep_oldest=True)) == []


def letter(n: int, body: str) -> Letter:
    return Letter(
        message_id=f"{n:032x}",
        peer=ID,
        peer_name="bob",
        reason="blocked",
        peer_has_it="no",
        last_error="blocked",
        attempts=1,
        moved_at_ms=0,
        sent_at_ms=0,
        body=body,
    )


def test_fit_bodies_keeps_every_entry_when_texts_are_too_long() -> None:
    letters = [letter(n, "\x01" * 60_000) for n in range(20)]
    found = msgspec.json.decode(fit_bodies(letters, room_bytes=100_000), type=list[Letter])
    assert len(found) == 20
    assert all(entry.body.endswith("…") for entry in found)
    assert msgspec.json.decode(fit_bodies(letters[:1]), type=list[Letter]) == letters[:1]
    with pytest.raises(ApiError, match="one peer at a time"):
        fit_bodies(letters, room_bytes=1_000)
