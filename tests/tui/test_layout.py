"""Messages broken into rows."""

from __future__ import annotations

from datetime import UTC

import pytest

from p2pchat.model import State
from p2pchat.tui.cells import width_of
from p2pchat.tui.conversation import Conversation
from p2pchat.tui.layout import GUTTER, MAX_ROWS, META, Kind, Layout, Note
from p2pchat.tui.model import Entry, entry_of
from tests.tui.fake import MINUTE, NOON, FakeEngine, device, peer
from tests.tui.test_cells import NASTY


def no_notes(entry: Entry) -> Note | None:
    return None


def talk(*lines: tuple[int, bool, str], has_older: bool = False) -> Conversation:
    engine = FakeEngine()
    engine.add(peer("bob"))
    for minute, mine, body in lines:
        engine.write("bob", body, mine=mine, at=NOON + minute * MINUTE)
    conversation = Conversation(device("bob"))
    conversation.merge_newest([entry_of(m) for m in engine.histories[device("bob")]], 100)
    conversation.has_older = has_older
    return conversation


def laid(conversation: Conversation, width: int = 60) -> Layout:
    layout = Layout(UTC)
    layout.sync(conversation, width, no_notes)
    return layout


def rows(layout: Layout) -> list[tuple[str, str]]:
    found = []
    for y in range(layout.height):
        row = layout.row(y)
        assert row is not None
        found.append((row.kind.value, row.text))
    return found


def test_layout_groups_a_run_of_messages_under_one_name() -> None:
    layout = laid(talk((0, False, "one"), (1, False, "two"), (2, True, "three")))
    assert rows(layout) == [
        ("top", "This is where it begins."),
        ("gap", ""),
        ("day", "Monday, 23 November 2026"),
        ("gap", ""),
        ("head", "bob"),
        ("body", "one"),
        ("body", "two"),
        ("gap", ""),
        ("head", "you"),
        ("body", "three"),
    ]


def test_layout_begins_a_new_run_after_a_pause() -> None:
    layout = laid(talk((0, False, "one"), (30, False, "two")))
    assert [kind for kind, _ in rows(layout)].count("head") == 2


def test_layout_separates_days() -> None:
    layout = laid(talk((0, False, "one"), (24 * 60, False, "two")))
    days = [text for kind, text in rows(layout) if kind == "day"]
    assert days == ["Monday, 23 November 2026", "Tuesday, 24 November 2026"]


def test_layout_shows_a_minute_once_in_a_run() -> None:
    layout = laid(talk((0, False, "one"), (0, False, "two"), (1, False, "three")))
    times = [row.time for y in range(layout.height) if (row := layout.row(y)) and row.kind is Kind.BODY]
    assert times == ["12:00", "", "12:01"]


def test_layout_puts_the_unread_line_above_the_first_unread_message() -> None:
    conversation = talk((0, False, "one"), (1, False, "two"), (2, False, "three"))
    conversation.unread_from = conversation.entries[1].message_id
    shown = rows(laid(conversation))
    at = shown.index(("unread", "2 new messages"))
    assert ("body", "two") in shown[at : at + 4]


@pytest.mark.parametrize("width", [20, 37, 60, 200])
@pytest.mark.parametrize("body", NASTY)
def test_layout_rows_fit_between_bar_and_time(body: str, width: int) -> None:
    layout = laid(talk((0, True, body)), width)
    for kind, text in rows(layout):
        if kind == "body":
            assert width_of(text) <= width - GUTTER - META


def test_layout_folds_a_message_of_very_many_lines() -> None:
    layout = laid(talk((0, False, "\n".join(map(str, range(5000))))))
    shown = rows(layout)
    assert sum(kind == "body" for kind, _ in shown) == MAX_ROWS
    assert shown[-1] == ("fold", f"{5000 - MAX_ROWS:,} more lines; m shows all")


def test_layout_says_a_reason_once_below_messages_that_share_it() -> None:
    conversation = talk((0, True, "one"), (1, True, "two"))
    layout = Layout(UTC)
    layout.sync(conversation, 60, lambda entry: Note("bob sleeps", "warn"))
    shown = rows(layout)
    assert shown.count(("note", "bob sleeps")) == 1
    assert shown[-1] == ("note", "bob sleeps")


def test_layout_reports_nothing_when_nothing_changed() -> None:
    conversation = talk((0, True, "one"))
    layout = laid(conversation)
    assert not layout.sync(conversation, 60, no_notes)


def test_layout_reports_only_the_rows_of_a_tick_that_moved() -> None:
    conversation = talk((0, True, "one"), (1, True, "two"), (2, True, "three"))
    layout = laid(conversation)
    conversation.set_state(conversation.entries[1].message_id, State.READ)
    changed = layout.sync(conversation, 60, no_notes)
    assert not changed.moved
    assert changed.count == 1
    row = layout.row(changed.first)
    assert row is not None
    assert row.text == "two"


def test_layout_uses_blocks_again_that_did_not_change() -> None:
    conversation = talk(*((n, False, f"m{n}") for n in range(50)))
    layout = laid(conversation)
    before = list(layout.blocks)
    conversation.set_state(conversation.entries[-1].message_id, State.DELIVERED)
    layout.sync(conversation, 60, no_notes)
    same = sum(a is b for a, b in zip(before, layout.blocks, strict=True))
    assert same >= len(before) - 1


def test_layout_finds_an_anchor_again_when_messages_come_in_above() -> None:
    everything = talk(*((n, False, f"m{n}") for n in range(20)))
    older, newer = everything.entries[:10], everything.entries[10:]
    conversation = Conversation(device("bob"))
    conversation.merge_newest(newer, 10)
    layout = laid(conversation)
    y = 8
    anchor, was = layout.anchor(y), layout.row(y)
    conversation.merge_older(older, 10)
    layout.sync(conversation, 60, no_notes)
    now_y = layout.find(anchor)
    assert now_y is not None
    now = layout.row(now_y)
    assert was is not None
    assert now is not None
    assert (now.kind, now.text) == (was.kind, was.text)


def test_layout_invites_to_write_when_the_conversation_is_empty() -> None:
    assert "Nothing written yet" in " ".join(text for _, text in rows(laid(talk())))


def test_layout_shows_absurd_times_without_failing() -> None:
    engine = FakeEngine()
    engine.add(peer("bob"))
    engine.write("bob", "from the far future", at=10**17)
    conversation = Conversation(device("bob"))
    conversation.merge_newest([entry_of(m) for m in engine.histories[device("bob")]], 100)
    assert ("body", "from the far future") in rows(laid(conversation))
