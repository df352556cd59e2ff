"""The screen as a person uses it: keys in, what is to be seen out."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil

import pytest
from textual import events
from textual.dom import DOMNode

import p2pchat.tui
from p2pchat.errors import ApiError
from p2pchat.model import MAX_BODY_BYTES
from p2pchat.tui.app import help_sections
from p2pchat.tui.controller import MAX_UNSTORED
from p2pchat.tui.conversation import MAX_LOADED
from p2pchat.tui.screens.help import bindings_of, key_name
from p2pchat.tui.theme import ASCII, DARK, LIGHT, UNICODE
from p2pchat.tui.widgets.grid import Grid
from p2pchat.tui.widgets.paper import Paper
from tests.tui.fake import MINUTE, NOON, FakeEngine, busy_engine, device, long_engine, peer
from tests.tui.stage import Stage, showing

SIZES = [(60, 20), (80, 24), (120, 40), (200, 50)]


def two() -> FakeEngine:
    engine = FakeEngine()
    engine.add(peer("bob"), peer("carol"))
    engine.write("bob", "hello alice", at=NOON - MINUTE)
    return engine


async def test_screen_shows_peers_and_the_latest_conversation_when_it_starts() -> None:
    async with showing(two()) as stage:
        await stage.sees("bob", "carol", "hello alice", "alice :27270", "2 links")


async def test_screen_is_painted_before_the_engine_answers() -> None:
    engine = two()
    engine.hold = asyncio.Event()
    async with showing(engine, wait=False) as stage:
        await stage.sees("Starting the engine")
        assert engine.calls == []
        engine.hold.set()
        await stage.sees("hello alice")


async def test_enter_sends_and_the_ticks_change_in_place() -> None:
    engine = two()
    async with showing(engine) as stage:
        await stage.write("how are you")
        await stage.press("enter")
        await stage.sees("how are you")
        assert stage.composer.text == ""
        await stage.until(lambda: stage.tick_of("how are you") == "◷")
        message_id = engine.histories[device("bob")][-1].message_id
        for state, sign in (("sent", "✓"), ("delivered", "✓✓"), ("read", "✔✔")):
            before = [row for row in stage.talk.plain.splitlines() if row]
            engine.move(message_id, state)
            await stage.ticks("how are you", sign)
            after = [row for row in stage.talk.plain.splitlines() if row]
            assert len(before) == len(after)


async def test_message_is_shown_as_being_stored_until_the_engine_has_it() -> None:
    engine = two()
    async with showing(engine) as stage:
        engine.hold = asyncio.Event()
        await stage.write("slow disk")
        await stage.press("enter")
        await stage.until(lambda: stage.tick_of("slow disk") == "…")
        engine.hold.set()
        await stage.until(lambda: stage.tick_of("slow disk") == "◷")


async def test_refused_message_goes_back_to_the_composer_with_the_reason() -> None:
    engine = two()
    engine.refuse["message.send"] = ApiError("queue_full", "1,000 messages wait for bob already.")
    async with showing(engine) as stage:
        await stage.write("one more")
        await stage.press("enter")
        await stage.sees("1,000 messages wait")
        assert stage.composer.text == "one more"
        assert "one more" not in stage.talk.plain


async def test_a_few_lines_are_one_message_when_they_are_typed_with_newline_keys() -> None:
    engine = two()
    async with showing(engine) as stage:
        await stage.press("a", "alt+enter", "b", "ctrl+j", "c", "shift+enter", "d", "enter")
        await stage.until(lambda: engine.count_of("message.send"))
        assert engine.histories[device("bob")][-1].body == "a\nb\nc\nd"


async def test_paste_is_one_text_and_sends_nothing_by_itself() -> None:
    engine = two()
    async with showing(engine) as stage:
        stage.composer.post_message(events.Paste("first\r\nsecond\rthird\n\x1b[2J\u202eend"))
        await stage.until(lambda: "third" in stage.composer.text)
        assert stage.composer.text == "first\nsecond\nthird\n[2Jend"
        assert engine.count_of("message.send") == 0
        await stage.press("enter")
        await stage.until(lambda: engine.count_of("message.send"))
        assert engine.count_of("message.send") == 1


async def test_paste_that_no_message_can_hold_is_refused() -> None:
    async with showing(two()) as stage:
        stage.composer.post_message(events.Paste("x" * (MAX_BODY_BYTES * 5)))
        await stage.sees("one message holds 64 KiB")
        assert stage.composer.text == ""


async def test_text_that_is_too_long_is_not_sent_and_says_so() -> None:
    engine = two()
    async with showing(engine) as stage:
        stage.composer.replace_all("ä" * (MAX_BODY_BYTES // 2 + 1))
        await stage.sees("65,538 of 65,536 bytes")
        await stage.press("enter")
        await stage.pilot.pause()
        assert engine.count_of("message.send") == 0
        assert stage.composer.size_bytes == MAX_BODY_BYTES + 2


async def test_composer_grows_to_six_rows_and_no_further() -> None:
    async with showing(two()) as stage:
        for lines, height in ((1, 1), (3, 3), (6, 6), (20, 6)):
            stage.composer.replace_all("\n".join("x" * lines))
            await stage.pilot.pause()
            assert stage.composer.size.height == height


async def test_blank_text_is_not_sent() -> None:
    engine = two()
    async with showing(engine) as stage:
        await stage.press("space", "space", "enter")
        await stage.pilot.pause()
        assert engine.count_of("message.send") == 0


async def test_draft_stays_with_its_conversation() -> None:
    async with showing(two()) as stage:
        await stage.write("for bob")
        await stage.press("alt+down")
        await stage.until(lambda: stage.app.controller.desk.open_peer == device("carol") and stage.composer.text == "")
        await stage.write("for carol")
        await stage.press("alt+up")
        await stage.until(lambda: stage.composer.text == "for bob")
        await stage.press("alt+down")
        await stage.until(lambda: stage.composer.text == "for carol")


async def test_incoming_message_is_read_when_it_is_seen_in_a_focused_terminal() -> None:
    engine = two()
    async with showing(engine) as stage:
        engine.receive("bob", "look here")
        await stage.sees("look here")
        await stage.until(lambda: engine.histories[device("bob")][-1].state == "read", "marked as read")


async def test_incoming_message_stays_unread_when_the_terminal_has_no_focus() -> None:
    engine = two()
    async with showing(engine) as stage:
        stage.app.post_message(events.AppBlur())
        await stage.until(lambda: not stage.app.app_focus)
        engine.receive("bob", "nobody looks")
        await stage.sees("nobody looks", "1 new message", " 1 ")
        assert engine.histories[device("bob")][-1].state == "delivered"
        assert engine.count_of("read") == 0
        stage.app.post_message(events.AppFocus())
        await stage.until(lambda: engine.histories[device("bob")][-1].state == "read", "marked as read")


async def test_incoming_message_stays_unread_when_another_screen_is_on_top() -> None:
    engine = two()
    async with showing(engine) as stage:
        await stage.press("f4")
        engine.receive("bob", "behind the table")
        await stage.until(lambda: engine.count_of("history") > 1)
        assert engine.count_of("read") == 0
        await stage.press("escape")
        await stage.until(lambda: engine.histories[device("bob")][-1].state == "read", "marked as read")


async def test_incoming_message_stays_unread_when_the_conversation_is_scrolled_up() -> None:
    engine = long_engine(200)
    async with showing(engine) as stage:
        await stage.press("pageup", "pageup")
        await stage.until(lambda: not stage.talk._conversation.at_bottom)  # type: ignore[union-attr]
        held = stage.talk.plain
        engine.receive("bob", "far below")
        await stage.sees("1 new below")
        assert stage.talk.plain == held
        assert engine.histories[device("bob")][-1].state == "delivered"
        await stage.press("escape")
        await stage.sees("far below")
        await stage.until(lambda: engine.histories[device("bob")][-1].state == "read", "marked as read")


async def test_other_conversations_count_their_unread_messages() -> None:
    engine = two()
    async with showing(engine) as stage:
        engine.receive("carol", "psst")
        await stage.until(lambda: any(row.split()[1:] == ["carol", "1"] for row in stage.people.plain.splitlines()))
        assert engine.count_of("read") == 0
        await stage.press("ctrl+g")
        await stage.sees("psst", "1 new message")


async def test_waiting_message_says_why_it_waits() -> None:
    engine = busy_engine()
    async with showing(engine, size=(120, 40)) as stage:
        stage.app.controller.open(device("carol"))
        await stage.sees("Start without me.", "carol is not answering since 11:31; goes out when she is back")
        assert stage.talk.plain.count("not answering") == 1


async def test_waiting_message_names_the_time_of_its_next_attempt() -> None:
    engine = two()
    message_id = engine.write("bob", "try again", mine=True, state="pending")
    engine.waiting[message_id] = "attempt 3 in 12 s|2"
    async with showing(engine) as stage:
        await stage.sees("attempt 3 at 12:00:12: connection refused")


async def test_message_that_was_just_sent_gets_no_line_that_comes_and_goes() -> None:
    engine = two()
    message_id = engine.write("bob", "on its way", mine=True, state="sent")
    engine.waiting[message_id] = "bob's acknowledgement"
    async with showing(engine) as stage:
        await stage.ticks("on its way", "✓")
        assert stage.app.controller.desk.waiting
        assert "acknowledgement" not in stage.text


async def test_request_can_be_accepted_from_its_header() -> None:
    engine = busy_engine()
    async with showing(engine) as stage:
        stage.app.controller.open(device("mallory"))
        await stage.sees("wants to write to you", "F8 Accept", "F9 Block")
        await stage.press("f8")
        await stage.until(lambda: engine.peers[device("mallory")].trust == "unverified")
        await stage.until(lambda: "wants to write" not in stage.text)


async def test_peer_can_be_blocked_and_unblocked() -> None:
    engine = two()
    async with showing(engine) as stage:
        await stage.press("f9")
        await stage.until(lambda: engine.peers[device("bob")].trust == "blocked")
        await stage.sees("F9 unblocks")
        await stage.press("f9")
        await stage.until(lambda: engine.peers[device("bob")].trust == "unverified")


async def test_peer_can_be_given_another_name() -> None:
    async with showing(two()) as stage:
        await stage.press("ctrl+r")
        await stage.sees("A name for bob")
        await stage.write("Robert")
        await stage.press("enter")
        await stage.sees("Robert", "(bob)")


async def test_adding_somebody_shows_why_it_did_not_work_and_then_that_it_did() -> None:
    async with showing(two()) as stage:
        await stage.press("f7")
        await stage.sees("Add somebody")
        await stage.write("nowhere")
        await stage.press("enter")
        await stage.sees("nowhere: nobody answered within 5 s")
        await stage.press("ctrl+u")
        await stage.write("192.168.1.9")
        await stage.press("enter")
        await stage.sees("Found frank")
        assert stage.app.controller.desk.open_peer == device("frank")


async def test_somebody_who_is_alone_is_told_what_to_do() -> None:
    async with showing(FakeEngine()) as stage:
        await stage.sees(
            "Nobody here yet", "p2pchat peer add 192.168.1.20:27270", "another machine", "TCP port 27270", "F7"
        )


async def test_letters_can_be_retried_one_by_one() -> None:
    engine = busy_engine()
    async with showing(engine, size=(120, 40)) as stage:
        await stage.press("f4")
        await stage.sees("Dead letters", "connection refused", "The meeting moved", "3 letters")
        await stage.press("r")
        await stage.sees("1 letter put back")
        await stage.until(lambda: len(stage.app.screen.query_one(Grid).rows) == 2)
        assert engine.count_of("dlq.retry") == 1
        assert len(engine.letters) == 2


async def test_letters_are_purged_only_after_a_yes() -> None:
    engine = busy_engine()
    async with showing(engine, size=(120, 40)) as stage:
        await stage.press("f4")
        await stage.sees("3 letters")
        await stage.press("P")
        await stage.sees("Remove all 3 dead letters?")
        await stage.press("n")
        await stage.until(lambda: "Remove all" not in stage.text)
        assert engine.count_of("dlq.purge") == 0
        await stage.press("p")
        await stage.sees("Remove this dead letter?")
        await stage.press("y")
        await stage.sees("1 letter removed")
        await stage.until(lambda: len(stage.app.screen.query_one(Grid).rows) == 2)
        await stage.press("P", "y")
        await stage.sees("No dead letters")


async def test_purge_all_spares_a_letter_that_came_while_it_was_asked() -> None:
    engine = busy_engine()
    async with showing(engine, size=(120, 40)) as stage:
        await stage.press("f4")
        await stage.sees("3 letters")
        await stage.press("P")
        await stage.sees("Remove all 3")
        engine.bury("bob", "just now", "expired")
        await stage.press("y")
        await stage.until(lambda: [letter.body for letter in engine.letters] == ["just now"])


async def test_failed_message_can_be_retried_in_the_conversation() -> None:
    engine = busy_engine()
    async with showing(engine) as stage:
        await stage.until(lambda: stage.tick_of("first draft") == "✗")
        await stage.press("tab", "up", "up", "r")
        await stage.until(lambda: stage.tick_of("first draft") == "◷")


async def test_outbox_lists_what_waits_and_counts_down() -> None:
    engine = busy_engine()
    message_id = next(iter(engine.waiting))
    engine.waiting[message_id] = "bob's answer|2"
    async with showing(engine, size=(120, 40)) as stage:
        await stage.press("f3")
        await stage.sees("Outbox", "Running late", "bob's answer", "in 12 s")
        engine.now += 5_000
        await stage.sees("in 7 s")


async def test_waiting_message_can_be_taken_back() -> None:
    engine = busy_engine()
    async with showing(engine, size=(120, 40)) as stage:
        await stage.press("f3")
        await stage.sees("Lunch at half past")
        keys = [row.key for row in stage.app.screen.query_one(Grid).rows]
        await stage.press("x")
        await stage.until(lambda: len(stage.app.screen.query_one(Grid).rows) == len(keys) - 1)
        assert engine.count_of("message.cancel") == 1


async def test_details_show_the_way_of_a_message() -> None:
    engine = busy_engine()
    async with showing(engine, size=(120, 40)) as stage:
        await stage.press("tab", "up", "up", "up", "m")
        await stage.sees("Message", "No hurry.", "stored here", "handed to the link", "on their disk", "+34 ms")
        engine.move(next(m.message_id for m in engine.histories[device("bob")] if m.body == "No hurry."), "read")
        await stage.sees("+61 s")
        await stage.press("escape")
        await stage.until(lambda: "handed to the link" not in stage.text)


async def test_log_follows_filters_and_pauses() -> None:
    engine = busy_engine()
    async with showing(engine, size=(120, 40)) as stage:
        await stage.press("f5")
        await stage.sees("heartbeat:sent", "nothing heard for 35 s")
        engine.log("heartbeat", event="heartbeat:sent", sequence=4242)
        await stage.sees("sequence=4242")
        await stage.press("p")
        engine.log("heartbeat", event="heartbeat:sent", sequence=4343)
        await stage.sees("paused, 1 more")
        assert "4343" not in stage.text
        await stage.press("p")
        await stage.sees("sequence=4343")
        await stage.press("slash", "4", "2", "4", "2")
        await stage.sees("1 line with")
        assert "4343" not in stage.text
        await stage.press("escape")
        await stage.sees("sequence=4343")
        await stage.press("3")
        await stage.sees("engine:ready")


async def test_log_gathers_many_lines_into_few_pictures() -> None:
    engine = busy_engine()
    async with showing(engine, size=(120, 40)) as stage:
        await stage.press("f5")
        await stage.sees("heartbeat:sent")
        drawn = 0
        screen = stage.app.screen
        draw = screen._draw  # type: ignore[attr-defined]

        def counting() -> None:
            nonlocal drawn
            drawn += 1
            draw()

        screen._draw = counting  # type: ignore[attr-defined]
        for number in range(1000):
            engine.log("heartbeat", event="burst", number=number)
        await stage.sees("number=999")
        assert drawn <= 3


async def test_help_shows_every_key_that_is_bound() -> None:
    async with showing(two(), size=(120, 40)) as stage:
        await stage.press("f1")
        await stage.sees("Everywhere")
        shown = stage.app.screen.query_one(Paper).plain
        owners = [owner for _, owner in help_sections()]
        bound = [binding for owner in owners for binding in bindings_of(owner)]
        assert len(bound) > 50
        for keys, words in bound:
            assert words in shown
            assert all(key_name(key) in shown for key in keys)
        await stage.press("f1")
        await stage.until(lambda: "Everywhere" not in stage.text)


def test_help_leaves_out_no_class_that_binds_keys() -> None:
    for module in pkgutil.walk_packages(p2pchat.tui.__path__, "p2pchat.tui."):
        importlib.import_module(module.name)
    known = {owner for _, owner in help_sections()}
    pending, classes = [DOMNode], set()
    while pending:
        classes.update(found := pending.pop().__subclasses__())
        pending += found
    ours = {one for one in classes if one.__module__.startswith("p2pchat.tui.") and one.__dict__.get("BINDINGS")}
    assert ours <= known


async def test_theme_switches_while_it_is_shown() -> None:
    async with showing(two()) as stage:
        assert stage.app.theme == DARK.name
        dark = stage.talk.render_line(stage.talk.size.height - 1)
        await stage.press("f6")
        assert stage.app.theme == LIGHT.name
        await stage.until(lambda: stage.talk.render_line(stage.talk.size.height - 1) != dark, "other colours")
        await stage.press("f6")
        assert stage.app.theme == DARK.name


@pytest.mark.parametrize("size", SIZES)
async def test_screen_works_at_size(size: tuple[int, int]) -> None:
    async with showing(busy_engine(), size=size) as stage:
        await stage.sees("bob", "first draft", "Write a message", "alice :27270")
        assert (stage.main.query_one("#people-box").size.width > 0) == (size[0] >= 72)
        assert stage.talk.size.height >= 6


async def test_screen_follows_a_resize_and_keeps_the_newest_message_in_view() -> None:
    async with showing(busy_engine(), size=(200, 50)) as stage:
        await stage.sees("first draft")
        for size in (*SIZES, *reversed(SIZES)):
            await stage.pilot.resize_terminal(*size)
            await stage.sees("first draft", "Write a message")
            assert all(len(row) <= size[0] for row in stage.rows)


async def test_narrow_screen_shows_people_in_place_of_the_conversation() -> None:
    async with showing(busy_engine(), size=(60, 20)) as stage:
        assert "mallory" not in stage.text
        await stage.press("f2")
        await stage.sees("mallory", "request")
        assert "Write a message" not in stage.text
        await stage.press("down", "enter")
        await stage.sees("Write a message")
        assert "mallory" not in stage.text


async def test_people_are_chosen_with_the_arrows() -> None:
    async with showing(two()) as stage:
        await stage.press("f2", "down")
        await stage.until(lambda: stage.app.controller.desk.open_peer == device("carol"))
        await stage.press("enter", "h", "i")
        assert stage.composer.text == "hi"


async def test_hostile_names_and_messages_are_shown_and_do_nothing() -> None:
    engine = FakeEngine()
    evil = "[red]\x1b]0;owned\x07\u202ebob[/red]\n\n[@click=app.quit]x[/]"
    engine.add(peer("eve", name=evil, own_name=evil, detail="\x1b[2J[bold]", trust="request"))
    engine.write("eve", "[bold red]\x1b[31m hi \x9b2J[/] \u2066\u0301\u0302" + "\n" * 30, state="delivered")
    engine.bury("eve", "[link=file:///etc/passwd]\x1b[0m", "refused", last_error="[/]\x1b", peer_name=evil)
    async with showing(engine, size=(120, 40)) as stage:
        await stage.sees("[red]", "[bold red]")
        for key in ("f4", "f3", "f5", "f1"):
            await stage.press(key)
            await stage.pilot.pause()
            assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for row in stage.rows for char in row)
            assert "\u202e" not in stage.text
        assert stage.app.is_running


async def older_than(stage: Stage, oldest: str) -> None:
    current = stage.app.controller.desk.current
    assert current is not None
    await stage.until(lambda: current.entries[0].message_id != oldest, "an older page")


async def scroll_to_top(stage: Stage, rounds: int, first: str = "") -> None:
    """Press Home until the message ``first`` is loaded, or this often."""
    current = stage.app.controller.desk.current
    assert current is not None
    for _ in range(rounds):
        oldest = current.entries[0].message_id
        if oldest == first:
            break
        await stage.press("home")
        await older_than(stage, oldest)
    await stage.press("home")


async def test_conversation_scrolls_to_its_first_message() -> None:
    engine = long_engine(350)
    async with showing(engine) as stage:
        await stage.press("tab")
        await scroll_to_top(stage, 10, engine.histories[device("bob")][0].message_id)
        await stage.sees("message 0:", "This is where it begins.")


async def test_ten_thousand_messages_open_at_once_and_stay_bounded_while_scrolling() -> None:
    engine = long_engine(10_000)
    async with showing(engine) as stage:
        await stage.sees("message 9999")
        assert engine.count_of("history") == 1
        await stage.press("tab")
        await scroll_to_top(stage, 18)
        current = stage.app.controller.desk.current
        assert current is not None
        assert len(current.entries) == MAX_LOADED
        assert current.has_newer
        await stage.press("pagedown")
        assert "message 9999" not in stage.text
        await stage.press("end")
        await stage.sees("message 9999")


async def test_engine_that_goes_away_is_announced_and_found_again_and_nothing_is_lost() -> None:
    engine = two()
    async with showing(engine) as stage:
        await stage.write("half a sen")
        engine.stop()
        await stage.sees("The engine is gone")
        await stage.write("tence")
        await stage.press("enter")
        await stage.sees("half a sentence")
        assert stage.tick_of("half a sentence") == "…"
        await stage.write("next draft")
        engine.down = False
        await stage.until(lambda: "The engine is gone" not in stage.text)
        await stage.until(lambda: stage.tick_of("half a sentence") == "◷")
        assert [m.body for m in engine.histories[device("bob")]].count("half a sentence") == 1
        assert stage.composer.text == "next draft"


async def test_messages_for_the_engine_are_bounded_while_it_is_away() -> None:
    engine = two()
    async with showing(engine) as stage:
        engine.stop()
        await stage.sees("The engine is gone")
        controller = stage.app.controller
        for number in range(MAX_UNSTORED):
            assert controller.send(f"m{number}")
        assert not controller.send("one too many")


async def test_storage_problem_and_notes_are_shown() -> None:
    engine = two()
    engine.status = type(engine.status)(
        **{
            **{f: getattr(engine.status, f) for f in engine.status.__struct_fields__},
            "storage": "no space left on device",
            "notes": ["The database was damaged; it was moved aside."],
        }
    )
    async with showing(engine) as stage:
        await stage.sees("Storage: no space left on device", "moved aside")


async def test_quit_ends_cleanly_with_zero() -> None:
    engine = two()
    async with showing(engine) as stage:
        await stage.press("ctrl+q")
        await stage.pilot.pause()
        app = stage.app
    assert app.return_value == 0
    assert engine.clients == []


async def test_quit_says_six_when_no_engine_was_ever_reached() -> None:
    engine = two()
    engine.down = True
    async with showing(engine, wait=False) as stage:
        await stage.sees("cannot be reached: no engine is running")
        await stage.press("ctrl+q")
        await stage.pilot.pause()
        app = stage.app
    assert app.return_value == 6


async def test_ascii_signs_need_no_unicode() -> None:
    engine = two()
    engine.write("bob", "plain", mine=True, state="read")
    async with showing(engine, marks=ASCII) as stage:
        await stage.sees("plain")
        assert stage.tick_of("plain") == "VV"
        assert stage.text.isascii()


def test_every_tick_has_a_sign_of_its_own() -> None:
    for marks in (UNICODE, ASCII):
        signs = list(marks.ticks.values())
        assert len(set(signs)) == len(signs)
        assert all(len(sign) == 2 for sign in signs)


async def test_nothing_is_written_to_the_terminal_when_nothing_happens() -> None:
    async with showing(busy_engine(), size=(120, 40)) as stage:
        await stage.sees("first draft")
        await stage.until(lambda: stage.app.controller.settled)
        await stage.pilot.pause(0.3)
        writes: list[object] = []
        display = stage.app._display

        def counting(*args: object, **more: object) -> None:
            writes.append(args)
            display(*args, **more)  # type: ignore[arg-type]

        stage.app._display = counting  # type: ignore[method-assign]
        await stage.pilot.pause(0.7)
        assert writes == []
