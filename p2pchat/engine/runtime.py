"""The node's shell: one inbox, one timer, and the effects carried out as they come.

An input is taken in the callback in which it happened: the node decides, and its effects are carried out before the
callback returns. Inputs that come up meanwhile (a link that breaks while we write to it) queue behind it. When a turn
has lasted long enough the rest waits for the next one, and links that bring more are not read for a while; so the
loop is never blocked, and the inbox stays short.

Commits come from the writer's thread through a :class:`~p2pchat.engine.mailbox.Mailbox`: first the node is told, so
that what it promised leaves, then everybody else. The :class:`~p2pchat.engine.alarm.Alarm` is the node's timer; when
the machine was asleep, what we knew about reachability is stale, and the node is told.

**A crash** is a commit that failed or a fault of ours in the node. The node and everything it promised is dropped,
links are closed, whoever waits for an answer is told that nothing is known. :mod:`p2pchat.engine.recovery` then
brings a new node, made from what is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol, assert_never

from p2pchat.api.types import ErrorCode
from p2pchat.core.effects import CloseLink, Dial, Effect, Notify, Persist, Refused, Reply, Result, Transmit
from p2pchat.core.inputs import (
    BytesReceived,
    Command,
    Committed,
    Input,
    LinkClosed,
    LinkOpened,
    NetworkChanged,
    Now,
    ShutDown,
    StorageFailed,
    StorageRecovered,
    TimerFired,
)
from p2pchat.core.node import Node
from p2pchat.core.ops import Op, Outcome
from p2pchat.core.records import Snapshot
from p2pchat.engine.alarm import Alarm
from p2pchat.engine.mailbox import Commits, Mailbox
from p2pchat.errors import ApiError
from p2pchat.model import LinkId
from p2pchat.net import clock
from p2pchat.store.notices import Recorded

_log = logging.getLogger(__name__)

MAX_INBOX: Final = 1_000
MAX_HELD_OPS: Final = 10_000
_TURN_S: Final = 0.008
_EVENTS_A_TURN: Final = 500
_OUTCOMES_A_STEP: Final = 256


class Links(Protocol):
    """What the runtime needs of the transport."""

    def dial(self, effect: Dial) -> None: ...

    def transmit(self, link: LinkId, data: bytes) -> None: ...

    def close_link(self, link: LinkId, reason: str) -> None: ...

    def authenticated(self, link: LinkId) -> None: ...

    def pause_reading(self, link: LinkId) -> None: ...

    def resume_reading(self, link: LinkId) -> None: ...


class Observer(Protocol):
    """Who hears what happened."""

    def applied(self, outcomes: Sequence[Outcome]) -> None:
        """A commit found these outcomes."""

    def recorded(self, events: Collection[Recorded]) -> None:
        """These events are stored now."""

    def noticed(self, notice: Notify) -> None:
        """This happened and is not stored."""

    def crashed(self, detail: str, *, storage: bool) -> None:
        """The node is gone; ``storage``: because the disk refused."""


Submit = Callable[[int, Sequence[Op], bool], None]
Done = Callable[[Result], None]


class Runtime:
    """Runs one node. Everything but posting to the mailbox belongs to the loop's thread.

    Args:
        build: makes a node from what is stored.
        submit: gives operations to the store, in order.
        links, observer: whom effects go to.

    Attributes:
        storage_detail: why the disk refuses writes; empty when it does not.
        mailbox: takes the writer's reports.
    """

    def __init__(
        self,
        build: Callable[[Snapshot, Now], Node],
        submit: Submit,
        observer: Observer,
        *,
        now: Callable[[], Now] = clock.now,
    ) -> None:
        self._build = build
        self._submit = submit
        self._observer = observer
        self._now = now
        self._node: Node | None = None
        self._links: Links | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: deque[Input] = deque()
        self._running = False
        self._deferred: asyncio.Handle | None = None
        self._unread: set[LinkId] = set()
        self._open: set[LinkId] = set()
        self._strangers: set[LinkId] = set()
        self._asked: dict[int, Done] = {}
        self._ticket = 0
        self._alarm: Alarm | None = None
        self._upto = 0
        self._events: deque[Recorded] = deque()
        self._publishing: asyncio.Handle | None = None
        self._held: list[Persist] = []
        self._stopping = False
        self.storage_detail = ""
        self.mailbox = Mailbox(self._reported)

    # --- life ---------------------------------------------------------------------------------------------------

    def attach(self, links: Links) -> None:
        """Name the transport; on the loop, before :meth:`start`."""
        self._links = links
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._loop, lambda: self._now().mono_s, self._alarm_fired)
        self.mailbox.open(self._loop)

    def start(self, snapshot: Snapshot, *, storage_failure: str = "") -> None:
        """Make the node and let it begin; again after a crash.

        Args:
            storage_failure: why the disk refuses writes at the moment, if it does.
        """
        self.mailbox.empty()  # the last commits of the node before
        now = self._now()
        self._upto = 0
        self.storage_detail = storage_failure
        self._node = self._build(snapshot, now)
        # Told before it begins: a node that knows decides nothing that it could not store.
        effects = self._node.handle(StorageFailed(storage_failure), now) if storage_failure else []
        self._running = True
        try:
            self._carry_out([*effects, *self._node.start(now)])
        finally:
            self._running = False
        self._drain()

    def shut_down(self) -> None:
        """Say goodbye on every link and take no more commands. Inputs are still taken."""
        self._stopping = True
        if self._loop is not None:
            self.feed(ShutDown())

    def stop(self) -> None:
        """End: nothing is taken or fired any more, whoever waits for an answer is told."""
        self._stopping = True
        self._node = None
        self.mailbox.empty()
        for timer in (self._deferred, self._publishing):
            if timer is not None:
                timer.cancel()
        if self._alarm is not None:
            self._alarm.stop()
        if self._events:
            self._observer.recorded(self._events)
        self._inbox.clear()
        self._answer_all(Refused(ErrorCode.SHUTTING_DOWN, "the engine is ending; ask again with the same id"))

    def storage_recovered(self) -> None:
        """The disk takes writes again."""
        self.storage_detail = ""
        held, self._held = self._held, []
        for persist in held:
            self._submit(persist.number, persist.ops, persist.lazy)
        self.feed(StorageRecovered())

    @property
    def links_up(self) -> int:
        """How many links are authenticated."""
        return len(self._open) - len(self._strangers)

    @property
    def node(self) -> Node:
        """The node, for its views.

        Raises:
            ApiError: there is none at the moment.
        """
        if self._node is None:
            text = self.storage_detail or "the engine is starting again from what is stored"
            code = ErrorCode.SHUTTING_DOWN if self._stopping else ErrorCode.STORAGE_FAILED
            raise ApiError(code, text)
        return self._node

    def now(self) -> Now:
        """The time for the node's views."""
        return self._now()

    # --- inputs -------------------------------------------------------------------------------------------------

    def feed(self, event: Input) -> None:
        """Take one input, now or in its turn."""
        if isinstance(event, BytesReceived) and len(self._inbox) >= MAX_INBOX and self._links is not None:
            self._links.pause_reading(event.link)
            self._unread.add(event.link)
        self._inbox.append(event)
        if not self._running and self._deferred is None:
            self._drain()

    def ask(self, make: Callable[[int], Command], done: Done) -> None:
        """Give the node a command; ``done`` gets its one answer, now or later."""
        if self._stopping:
            done(Refused(ErrorCode.SHUTTING_DOWN, "the engine is ending; ask again with the same id"))
        elif self._node is None:
            done(Refused(ErrorCode.NOT_KNOWN_STORED, "the engine is starting again; ask again with the same id"))
        else:
            self._ticket += 1
            self._asked[self._ticket] = done
            self.feed(make(self._ticket))

    def _drain(self) -> None:
        """Take what is in the inbox, for at most a turn."""
        assert self._loop is not None
        self._deferred = None
        self._running = True
        give_way_s = self._loop.time() + _TURN_S
        try:
            while self._inbox:
                self._step(self._inbox.popleft())
                if self._inbox and self._loop.time() >= give_way_s:
                    self._deferred = self._loop.call_soon(self._drain)
                    break
        finally:
            self._running = False
        if not self._inbox and self._unread and self._links is not None:
            for link in self._unread:
                self._links.resume_reading(link)
            self._unread.clear()
        if self._node is not None and self._alarm is not None:
            self._alarm.arm(self._node.next_deadline())

    def _step(self, event: Input) -> None:
        node = self._node
        if not self._admit(event) or node is None:
            return
        try:
            effects = node.handle(event, self._now())
        except Exception as error:
            _log.exception("the node failed", extra={"input": type(event).__name__})
            self._crash(f"a fault of this program: {type(error).__name__}", storage=False)
            return
        self._carry_out(effects)
        if isinstance(event, BytesReceived) and event.link in self._strangers:
            self._look_who_is_there(event.link)

    def _admit(self, event: Input) -> bool:
        """Keep the books about links; drop what belongs to a node that is gone."""
        match event:
            case LinkOpened(link=link):
                if self._node is None:
                    if self._links is not None:
                        self._links.close_link(link, "not ready")
                    return False
                self._open.add(link)
                self._strangers.add(link)
            case BytesReceived(link=link):
                return link in self._open
            case LinkClosed(link=link):
                self._unread.discard(link)
                self._strangers.discard(link)
                if link not in self._open:
                    return False
                self._open.discard(link)
            case _:
                pass
        return True

    def _look_who_is_there(self, link: LinkId) -> None:
        if self._node is not None and self._node.authenticated(link) is not None:
            self._strangers.discard(link)
            if self._links is not None:
                self._links.authenticated(link)

    # --- effects ------------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        assert self._links is not None
        for effect in effects:
            match effect:
                case Transmit(link, data):
                    self._links.transmit(link, data)
                case Persist():
                    self._persist(effect)
                case Reply(request, result):
                    done = self._asked.pop(request, None)
                    if done is not None:
                        done(result)
                case Notify():
                    self._observer.noticed(effect)
                case CloseLink(link, reason):
                    self._links.close_link(link, reason)
                case Dial():
                    self._links.dial(effect)
                case _:
                    assert_never(effect)

    def _persist(self, effect: Persist) -> None:
        if not self.storage_detail:
            self._submit(effect.number, effect.ops, effect.lazy)
            return
        # The disk refuses: to the node this is merely a slow commit, within limits.
        self._held.append(effect)
        if sum(len(persist.ops) for persist in self._held) > MAX_HELD_OPS:
            self._crash(self.storage_detail, storage=True)

    # --- commits ------------------------------------------------------------------------------------------------

    def _reported(self, report: Commits | Exception) -> None:
        """Take what the writer reports."""
        if isinstance(report, Exception):
            self._crash(str(report), storage=True)
            return
        self._observer.applied(report.outcomes)
        self._tell_commit(report.upto, report.outcomes)
        self._events.extend(report.recorded)
        if self._publishing is None:
            self._publish()

    def _tell_commit(self, upto: int, outcomes: list[Outcome]) -> None:
        """Tell the node; a long commit in parts. What was promised leaves with the last one."""
        first, last = 0, len(outcomes) - _OUTCOMES_A_STEP
        while first < last:
            self.feed(Committed(self._upto, tuple(outcomes[first : first + _OUTCOMES_A_STEP])))
            first += _OUTCOMES_A_STEP
        self._upto = upto
        self.feed(Committed(upto, tuple(outcomes[first:])))

    def _publish(self) -> None:
        """Tell what was recorded, a portion a turn."""
        self._publishing = None
        portion = [self._events.popleft() for _ in range(min(_EVENTS_A_TURN, len(self._events)))]
        if portion:
            self._observer.recorded(portion)
        if self._events and self._loop is not None:
            self._publishing = self._loop.call_soon(self._publish)

    # --- the timer ----------------------------------------------------------------------------------------------

    def _alarm_fired(self, asleep_s: float) -> None:
        if asleep_s:
            _log.info("woke up", extra={"asleep_s": round(asleep_s, 1)})
            self.feed(NetworkChanged("woke up"))
        self.feed(TimerFired())

    # --- crashes ------------------------------------------------------------------------------------------------

    def _crash(self, detail: str, *, storage: bool) -> None:
        """Drop the node with everything that it promised."""
        if self._node is None:
            return
        self._node = None
        if storage:
            self.storage_detail = detail
        self._held.clear()
        links, self._open = self._open, set()
        links.update(event.link for event in self._inbox if isinstance(event, LinkOpened))
        self._inbox.clear()
        self._strangers.clear()
        if self._links is not None:
            for link in links:
                self._links.close_link(link, "starting again")
        self._answer_all(Refused(ErrorCode.NOT_KNOWN_STORED, "not known to be stored; ask again with the same id"))
        self._observer.crashed(detail, storage=storage)

    def _answer_all(self, result: Result) -> None:
        asked, self._asked = self._asked, {}
        for done in asked.values():
            done(result)
