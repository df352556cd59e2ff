"""The view model without a screen: pages, ticks, order, what counts as changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pchat.api.types import Message
from p2pchat.model import State
from p2pchat.tui.conversation import MAX_LOADED, Conversation
from p2pchat.tui.desk import Desk
from p2pchat.tui.model import Entry, Tick, entry_of, later, me_of, peer_item
from tests.tui.fake import NOON, FakeEngine, device, peer, status


def messages(count: int, *, start: int = 0, mine: bool = False, state: str = "read") -> list[Message]:
    engine = FakeEngine()
    engine.add(peer("bob"))
    engine.numbers = start
    for number in range(start, start + count):
        engine.write("bob", f"m{number}", mine=mine, state=state, at=NOON + number)
    return engine.histories[device("bob")]


def entries(count: int, **more: Any) -> list[Entry]:
    return [entry_of(message) for message in messages(count, **more)]


def bodies(conversation: Conversation) -> list[str]:
    return [entry.body for entry in conversation.entries]


STATES = list(State)


@pytest.mark.parametrize(
    ("old", "new", "stands"),
    [
        (State.PENDING, State.SENT, State.SENT),
        (State.READ, State.DELIVERED, State.READ),
        (State.DELIVERED, State.PENDING, State.DELIVERED),
        (State.PENDING, State.FAILED, State.FAILED),
        (State.DELIVERED, State.FAILED, State.DELIVERED),
        (State.FAILED, State.SENT, State.FAILED),
        (State.FAILED, State.DELIVERED, State.DELIVERED),
        (State.CANCELLED, State.DELIVERED, State.DELIVERED),
        (State.SENT, State.CANCELLED, State.CANCELLED),
    ],
)
def test_later_never_takes_a_tick_back(old: State, new: State, stands: State) -> None:
    assert later(old, new) is stands


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=6))
def test_later_ends_read_in_any_order_when_read_was_told(told: list[State]) -> None:
    state: State | None = None
    for step in [*told, State.READ]:
        state = later(state, step)
    assert state is State.READ
    for step in told:
        assert later(State.READ, step) is State.READ


def test_conversation_takes_the_newest_page_over() -> None:
    conversation = Conversation("bob")
    conversation.merge_newest(entries(5), 100)
    assert bodies(conversation) == ["m0", "m1", "m2", "m3", "m4"]
    assert conversation.loaded
    assert not conversation.has_older


def test_conversation_knows_that_there_is_more_when_the_page_is_full() -> None:
    conversation = Conversation("bob")
    conversation.merge_newest(entries(5), 5)
    assert conversation.has_older


def test_conversation_appends_what_is_new_without_doubling_what_is_known() -> None:
    all_entries = entries(8)
    conversation = Conversation("bob")
    conversation.merge_newest(all_entries[:5], 5)
    assert conversation.merge_newest(all_entries[3:8], 5) == 3
    assert bodies(conversation) == [f"m{n}" for n in range(8)]


def test_conversation_takes_the_engines_order_when_a_message_sorts_between() -> None:
    all_entries = entries(4)
    conversation = Conversation("bob")
    conversation.merge_newest([all_entries[0], all_entries[1], all_entries[3]], 100)
    conversation.merge_newest(all_entries, 100)
    assert bodies(conversation) == ["m0", "m1", "m2", "m3"]


def test_conversation_starts_anew_when_the_newest_page_does_not_touch_it() -> None:
    all_entries = entries(300)
    conversation = Conversation("bob")
    conversation.merge_newest(all_entries[:50], 50)
    conversation.merge_newest(all_entries[200:250], 50)
    assert bodies(conversation)[0] == "m200"
    assert conversation.has_older


def test_conversation_counts_new_messages_below_when_it_is_scrolled_up() -> None:
    all_entries = entries(8)
    conversation = Conversation("bob")
    conversation.merge_newest(all_entries[:5], 100)
    conversation.at_bottom = False
    conversation.merge_newest(all_entries, 100)
    assert conversation.new_below == 3


def test_conversation_drops_the_far_end_when_it_grows_too_long() -> None:
    all_entries = entries(MAX_LOADED + 200)
    conversation = Conversation("bob")
    conversation.merge_newest(all_entries[-100:], 100)
    conversation.at_bottom = False
    for end in range(len(all_entries) - 100, 0, -100):
        conversation.merge_older(all_entries[max(0, end - 100) : end], 100)
    assert len(conversation.entries) == MAX_LOADED
    assert bodies(conversation)[0] == "m0"
    assert conversation.has_newer
    conversation.merge_newer(all_entries[MAX_LOADED : MAX_LOADED + 100], 100)
    assert len(conversation.entries) == MAX_LOADED
    assert bodies(conversation)[-1] == f"m{MAX_LOADED + 99}"
    assert conversation.has_older


def test_conversation_keeps_a_message_that_is_not_stored_below_every_page() -> None:
    conversation = Conversation("bob")
    conversation.merge_newest(entries(2), 100)
    local = entries(1, start=90, mine=True)[0]
    conversation.add_local(Entry(**{**_fields(local), "state": None}))
    assert [entry.tick for entry in conversation.entries][-1:] == [Tick.SAVING]
    conversation.merge_newest(entries(3), 100)
    assert bodies(conversation) == ["m0", "m1", "m2", "m90"]
    stored = [*entries(3), local]
    conversation.merge_newest(stored, 100)
    assert bodies(conversation) == ["m0", "m1", "m2", "m90"]
    assert conversation.entries[-1].tick is Tick.READ


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__dataclass_fields__}


def test_conversation_revision_stands_when_nothing_changes() -> None:
    conversation = Conversation("bob")
    page = entries(5)
    conversation.merge_newest(page, 100)
    before = conversation.revision
    conversation.merge_newest(entries(5), 100)
    assert not conversation.set_state(page[0].message_id, State.READ)
    assert conversation.revision == before


def test_conversation_finds_the_first_unread_message() -> None:
    conversation = Conversation("bob")
    conversation.merge_newest(entries(2) + entries(2, start=2, state="delivered"), 100)
    assert conversation.first_unread == conversation.entries[2].message_id
    assert conversation.has_unread
    assert conversation.newest_incoming == conversation.entries[3].message_id


def test_desk_lays_told_states_over_a_page_that_is_older() -> None:
    desk = Desk()
    page = messages(1, mine=True, state="sent")
    desk.note_state(device("bob"), page[0].message_id, State.DELIVERED, NOON)
    assert desk.overlay(page)[0].state is State.DELIVERED


def test_desk_lets_a_retried_message_go_back_to_pending() -> None:
    desk = Desk()
    page = messages(1, mine=True, state="failed")
    conversation = desk.conversation(device("bob"))
    conversation.merge_newest(desk.overlay(page), 100)
    assert desk.note_state(device("bob"), page[0].message_id, State.PENDING, NOON, back=True)
    assert conversation.entries[0].tick is Tick.PENDING


def test_desk_remembers_a_bounded_number_of_told_states() -> None:
    desk = Desk()
    for number in range(5000):
        desk.note_state(None, f"{number:032x}", State.SENT, NOON)
    assert len(desk._recent) <= 2048


def test_desk_sorts_requests_first_then_the_latest_then_the_blocked() -> None:
    desk = Desk()
    desk.set_peers(
        [
            peer("old", last_message_at_ms=1),
            peer("new", last_message_at_ms=9),
            peer("nobody", trust="seen"),
            peer("bad", trust="blocked", last_message_at_ms=99),
            peer("who", trust="request"),
        ]
    )
    assert [item.name for item in desk.peers] == ["who", "new", "old", "nobody", "bad"]


def test_desk_says_that_nothing_changed_when_the_same_list_comes_again() -> None:
    desk = Desk()
    assert desk.set_peers([peer("bob")])
    assert not desk.set_peers([peer("bob")])
    assert desk.set_peers([peer("bob", unread=1)])
    assert desk.set_me(me_of(status(uptime_s=1.0)))
    assert not desk.set_me(me_of(status(uptime_s=2.0)))


def test_desk_goes_round_to_the_next_unread_conversation() -> None:
    desk = Desk()
    desk.set_peers([peer("a", unread=1, last_message_at_ms=3), peer("b", last_message_at_ms=2), peer("c", unread=2)])
    desk.open_peer = device("b")
    assert desk.next_unread() == device("c")
    desk.open_peer = device("c")
    assert desk.next_unread() == device("a")


def test_peer_item_survives_words_that_it_does_not_know() -> None:
    item = peer_item(peer("\x1b[2Jbob", presence="lurking", trust="odd", detail="a\nb\x1b"))
    assert (item.presence.value, item.trust.value) == ("offline", "seen")
    assert "\x1b" not in item.name + item.detail
    assert "\n" not in item.detail


def test_peer_item_shows_the_id_when_the_name_is_empty() -> None:
    assert peer_item(peer("bob", name="", own_name="")).name == device("bob")[:8]


def test_entry_keeps_what_was_written_for_copying_and_shows_it_cleaned() -> None:
    message = messages(1)[0]
    hostile = Message(**{**{f: getattr(message, f) for f in message.__struct_fields__}, "body": "a\x1b[2J"})
    entry = entry_of(hostile)
    assert entry.raw == "a\x1b[2J"
    assert "\x1b" not in entry.body
