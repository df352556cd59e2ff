"""The screen that people live in: people, conversation, composer, status.

It is drawn from the desk by :meth:`MainScreen.desk_changed`; what the person does goes to the controller. Drafts
stay with their conversations, and the newest message counts as seen only while this screen is on top of a focused
terminal with the conversation on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import TextArea

from p2pchat.errors import ApiError
from p2pchat.model import MAX_BODY_BYTES
from p2pchat.tui import texts
from p2pchat.tui.cells import line_text
from p2pchat.tui.controller import Part
from p2pchat.tui.layout import Note
from p2pchat.tui.model import Entry, Link, Tick
from p2pchat.tui.screens.sheet import HORIZONTAL
from p2pchat.tui.widgets.composer import SHOW_SIZE_FROM_BYTES, Composer
from p2pchat.tui.widgets.conversation import ConversationView
from p2pchat.tui.widgets.greeting import Greeting
from p2pchat.tui.widgets.header import PeerHeader
from p2pchat.tui.widgets.painted import Rows
from p2pchat.tui.widgets.people import People
from p2pchat.tui.widgets.status import Banner, StatusLine

if TYPE_CHECKING:
    from p2pchat.tui.app import ChatApp

ALL_PARTS = frozenset(Part)


class MainScreen(Screen[None]):
    """People at the left, the open conversation at the right; one at a time on a narrow terminal."""

    HORIZONTAL_BREAKPOINTS = HORIZONTAL
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "people", "People: show, hide, choose", show=False, priority=True),
        Binding("f8", "app.accept", "Accept somebody who wants to write to you", show=False, priority=True),
        Binding("f9", "app.block", "Block or unblock the open person", show=False, priority=True),
        Binding("ctrl+r", "app.rename", "Give the open person a name of yours", show=False, priority=True),
        Binding("alt+up", "neighbour(-1)", "Conversation above", show=False, priority=True),
        Binding("alt+down", "neighbour(1)", "Conversation below", show=False, priority=True),
        Binding("ctrl+g", "next_unread", "Next conversation with new messages", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._shown_peer: str | None = None

    @property
    def chat(self) -> ChatApp:
        """The app, by its own type."""
        from p2pchat.tui.app import ChatApp

        assert isinstance(self.app, ChatApp)
        return self.app

    def compose(self) -> ComposeResult:
        """Everything exists from the start; what does not apply is not displayed."""
        marks, zone = self.chat.marks, self.chat.zone
        yield Banner(id="banner")
        with Horizontal(id="desk"):
            with Vertical(id="people-box") as people:
                people.border_title = texts.PEERS_TITLE
                yield People(marks, id="people")
            with Vertical(id="talk-column"):
                with Vertical(id="talk-box"):
                    yield PeerHeader(id="header")
                    yield Rule(id="header-line")
                    yield ConversationView(marks, zone, id="talk")
                    yield Greeting(id="greeting")
                with Vertical(id="composer-box"):
                    yield Composer(id="composer")
        yield StatusLine(id="status")

    def on_mount(self) -> None:
        self.query_one(Composer).focus()
        self.desk_changed(ALL_PARTS)

    def on_resize(self) -> None:
        self.call_after_refresh(self.desk_changed, frozenset({Part.STATUS, Part.PEERS, Part.ENGINE}))

    def on_screen_resume(self) -> None:
        self.desk_changed(ALL_PARTS)
        self.attend()

    def on_screen_suspend(self) -> None:
        self.chat.controller.pay_attention(False)

    # --- drawing ------------------------------------------------------------------------------------------------

    def desk_changed(self, parts: frozenset[Part]) -> None:
        """Draw what has changed."""
        desk = self.chat.controller.desk
        if parts & {Part.ENGINE, Part.STATUS}:
            self.query_one(Banner).show(desk, self.size.width)
            self.query_one(StatusLine).show(desk, self.chat.marks, self.size.width)
        if parts & {Part.PEERS, Part.CONVERSATION, Part.STATUS, Part.ENGINE}:
            self._draw_people()
        if parts & {Part.PEERS, Part.CONVERSATION, Part.OUTBOX, Part.LETTERS}:
            self._draw_talk()

    def _draw_people(self) -> None:
        desk = self.chat.controller.desk
        self.query_one(People).put(desk.peers, desk.open_peer)
        box = self.query_one("#people-box")
        unread = sum(item.unread for item in desk.peers)
        box.border_subtitle = texts.unread_short(unread) if unread else ""
        item = desk.peer(desk.open_peer)
        alone = item is None
        self.set_class(not desk.peers, "-alone")
        greeting = self.query_one(Greeting)
        greeting.display = alone
        for name in ("#header", "#header-line", "#talk"):
            self.query_one(name).display = not alone
        if item is not None:
            self.query_one(PeerHeader).show(item, self.chat.marks)
        else:
            inside = self.query_one("#talk-box").content_size
            greeting.show(desk.me if desk.engine.link is Link.LIVE else None, inside.width, inside.height)
        self._draw_composer()

    def _draw_talk(self) -> None:
        desk = self.chat.controller.desk
        if desk.open_peer != self._shown_peer:
            self._change_conversation(desk.open_peer)
        current = desk.current
        if current is not None:
            view = self.query_one(ConversationView)
            view.show(current, self._note)
            box = self.query_one("#talk-box")
            hint = view.hint
            wanted = f"{self.chat.marks.down} {hint} " if hint else ""
            if str(box.border_subtitle or "") != wanted:
                box.border_subtitle = wanted

    def _change_conversation(self, peer: str | None) -> None:
        desk, composer = self.chat.controller.desk, self.query_one(Composer)
        if self._shown_peer is not None:
            desk.conversation(self._shown_peer).draft = composer.text
        elif peer is not None and composer.text:
            desk.conversation(peer).draft = composer.text
        self._shown_peer = peer
        composer.replace_all("" if peer is None else desk.conversation(peer).draft)
        self.attend()

    def _note(self, entry: Entry) -> Note | None:
        """What is said below a message: why it waits, that it failed, that it took long."""
        desk = self.chat.controller.desk
        tick = entry.tick
        if tick in (Tick.PENDING, Tick.SENT, Tick.CANCELLING):
            found = desk.waiting.get(entry.message_id)
            # What was just sent waits for its acknowledgement: a line that comes and goes would only flicker.
            if found is None or (tick is Tick.SENT and not found.attempts):
                return None
            return Note(texts.waits_note(found, self.chat.zone), "warn")
        if tick is Tick.FAILED:
            return Note(texts.failed_note(desk.letter_reasons.get(entry.message_id)), "bad")
        late = entry.received_at_ms
        if not entry.mine and late is not None and abs(late - entry.sent_at_ms) > 60_000:
            return Note(texts.arrived_note(self.chat.when(late, entry.sent_at_ms)), "faint")
        return None

    def _draw_composer(self) -> None:
        composer, box = self.query_one(Composer), self.query_one("#composer-box")
        desk = self.chat.controller.desk
        item = desk.peer(desk.open_peer)
        if item is None:
            composer.hint(texts.COMPOSER_NO_PEER)
        elif self.chat.controller.is_blocked(item.device_id):
            composer.hint(texts.COMPOSER_BLOCKED)
        else:
            composer.hint(texts.COMPOSER_HINT)
        size = composer.size_bytes
        over = size > MAX_BODY_BYTES
        if box.has_class("-over") != over:
            box.set_class(over, "-over")
        words = texts.size_left(size) if size >= SHOW_SIZE_FROM_BYTES else ""
        if str(box.border_subtitle or "") != words:
            box.border_subtitle = words

    # --- attention ----------------------------------------------------------------------------------------------

    def attend(self) -> None:
        """Tell the controller whether the open conversation is before somebody's eyes."""
        visible = not (self.has_class("-narrow") and self.has_class("-with-people"))
        on_top = self.app.screen is self
        self.chat.controller.pay_attention(self.app.app_focus and on_top and visible)

    # --- composer -----------------------------------------------------------------------------------------------

    @on(TextArea.Changed)
    def _typed(self) -> None:
        self._draw_composer()

    @on(Composer.Submitted)
    def _submitted(self, event: Composer.Submitted) -> None:
        controller, composer = self.chat.controller, self.query_one(Composer)
        if not event.text.strip():
            return
        if composer.size_bytes > MAX_BODY_BYTES:
            self.chat.say(texts.size_left(composer.size_bytes), problem=True)
            return
        current = controller.desk.current
        if current is None:
            self.chat.say(texts.COMPOSER_NO_PEER, problem=True)
            return
        if not controller.send(event.text):
            self.chat.say(texts.NOT_CONNECTED, problem=True)
            return
        composer.replace_all("")
        current.draft = ""
        controller.jump_to_newest()
        self.query_one(ConversationView).go_to_newest()
        if controller.desk.engine.link is not Link.LIVE:
            self.chat.say(texts.SENT_LATER)

    @on(Composer.PasteRefused)
    def _paste_refused(self, event: Composer.PasteRefused) -> None:
        size, limit = texts.size(event.size_bytes), texts.size(MAX_BODY_BYTES)
        self.chat.say(texts.PASTE_TOO_LONG.format(size=size, limit=limit), problem=True)

    @on(Composer.Reach)
    def _reach(self, event: Composer.Reach) -> None:
        view = self.query_one(ConversationView)
        match event.to:
            case "talk":
                if view.display:
                    view.focus()
            case "people":
                self._show_people(True)
                self.query_one(People).focus()
            case "newest":
                self._to_newest()
            case _:
                view.action_page(event.page)

    def give_back(self, peer: str, body: str) -> None:
        """Put a refused text before what is being written to that peer."""
        composer = self.query_one(Composer)
        conversation = self.chat.controller.desk.conversation(peer)
        if peer == self._shown_peer:
            composer.replace_all(body + (f"\n{composer.text}" if composer.text else ""))
        else:
            conversation.draft = body + (f"\n{conversation.draft}" if conversation.draft else "")

    # --- conversation -------------------------------------------------------------------------------------------

    @on(ConversationView.Scrolled)
    def _scrolled(self, event: ConversationView.Scrolled) -> None:
        self.chat.controller.scrolled(at_bottom=event.at_bottom)

    @on(ConversationView.NearEnd)
    def _near_end(self, event: ConversationView.NearEnd) -> None:
        if event.older:
            self.chat.controller.want_older()
        else:
            self.chat.controller.want_newer()

    @on(ConversationView.NewestWanted)
    def _to_newest(self) -> None:
        self.chat.controller.jump_to_newest()
        self.query_one(ConversationView).go_to_newest()

    @on(ConversationView.Left)
    @on(People.Left)
    def _write(self) -> None:
        self._show_people(False)
        self.query_one(Composer).focus()

    @on(ConversationView.Chosen)
    def _chosen(self, event: ConversationView.Chosen) -> None:
        entry = event.entry
        match event.what:
            case "details":
                self.chat.show_details(entry.message_id)
            case "copy":
                self.chat.copy(entry.raw)
            case "retry" if entry.tick is Tick.FAILED:
                self.chat.do_letters("dlq.retry", [entry.message_id])
            case "cancel" if entry.tick in (Tick.PENDING, Tick.SENT):
                self.run_worker(self._cancel(entry.message_id), group="cancel")

    async def _cancel(self, message_id: str) -> None:
        try:
            await self.chat.controller.cancel(message_id)
        except ApiError as error:
            self.chat.say(line_text(str(error)), problem=True)

    # --- people -------------------------------------------------------------------------------------------------

    @on(People.Opened)
    def _opened(self, event: People.Opened) -> None:
        self.chat.controller.open(event.peer)

    def _show_people(self, shown: bool) -> None:
        self.set_class(shown, "-with-people")
        self.attend()

    def action_people(self) -> None:
        """Go to the people, or back to writing."""
        people = self.query_one(People)
        if people.has_focus or (self.has_class("-narrow") and self.has_class("-with-people")):
            self._write()
        else:
            self._show_people(True)
            people.focus()

    def action_neighbour(self, step: int) -> None:
        self.query_one(People).action_move(step)

    def action_next_unread(self) -> None:
        peer = self.chat.controller.desk.next_unread()
        if peer is not None:
            self.chat.controller.open(peer)
            self._write()


class Rule(Rows):
    """A thin line as wide as there is room."""

    def on_resize(self) -> None:
        from p2pchat.tui.app import ChatApp

        app = self.app
        assert isinstance(app, ChatApp)
        self.put(([("line", app.marks.rule * self.size.width)], []))
