"""Which peer a person means: pure, over the pictures of the peers that the node knows or sees.

A text is tried in steps, and the first step with a match decides:

1. a full device id;
2. a name that our user gave (an alias);
3. the name that an accepted peer calls itself;
4. the start of a device id, 4 characters or more;
5. the name of anybody else that is known or merely seen.

Within a step an exact match beats one that differs in case only. Two matches that are equally good are never
guessed between: the caller hears all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from p2pchat.api.types import ErrorCode
from p2pchat.core.views import PeerView
from p2pchat.errors import ApiError
from p2pchat.model import ACCEPTED, DeviceId, clean, clean_name

ID_CHARS: Final = 52
MIN_PREFIX_CHARS: Final = 4


def resolve(text: str, peers: Sequence[PeerView]) -> PeerView:
    """Return the one peer that ``text`` names.

    Raises:
        ApiError: ``no_such_peer``, or ``ambiguous_peer`` with the device ids that matched equally well.
    """
    wanted = clean_name(text)
    if not wanted:
        raise ApiError(ErrorCode.NO_SUCH_PEER, "no peer is named by an empty text")
    for step in (_by_id, _by_alias, _by_accepted_name, _by_prefix, _by_seen_name):
        matches = step(wanted, peers)
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise _ambiguous(wanted, matches)
    raise ApiError(ErrorCode.NO_SUCH_PEER, f"no peer is called {clean(wanted, 60)!r}; `p2pchat peers` lists them")


def _by_id(wanted: str, peers: Sequence[PeerView]) -> list[PeerView]:
    if len(wanted) != ID_CHARS:
        return []
    device_id = DeviceId(wanted.lower())
    return [view for view in peers if view.peer == device_id]


def _by_alias(wanted: str, peers: Sequence[PeerView]) -> list[PeerView]:
    return _named(wanted, [view for view in peers if view.alias], lambda view: view.alias)


def _by_accepted_name(wanted: str, peers: Sequence[PeerView]) -> list[PeerView]:
    accepted = [view for view in peers if view.own_name and view.trust in ACCEPTED]
    return _named(wanted, accepted, lambda view: view.own_name)


def _by_prefix(wanted: str, peers: Sequence[PeerView]) -> list[PeerView]:
    if len(wanted) < MIN_PREFIX_CHARS:
        return []
    prefix = wanted.lower()
    return [view for view in peers if view.peer.startswith(prefix)]


def _by_seen_name(wanted: str, peers: Sequence[PeerView]) -> list[PeerView]:
    others = [view for view in peers if view.own_name and view.trust not in ACCEPTED]
    return _named(wanted, others, lambda view: view.own_name)


def _named(wanted: str, peers: Sequence[PeerView], name: Callable[[PeerView], str]) -> list[PeerView]:
    exact = [view for view in peers if name(view) == wanted]
    if exact:
        return exact
    folded = wanted.casefold()
    return [view for view in peers if name(view).casefold() == folded]


def _ambiguous(wanted: str, matches: Sequence[PeerView]) -> ApiError:
    ids = tuple(sorted(view.peer for view in matches))
    shown = ", ".join(device_id[:12] for device_id in ids[:5]) + (", …" if len(ids) > 5 else "")
    text = f"{clean(wanted, 60)!r} could be any of {len(ids)} peers: {shown}; name one by more of its id"
    return ApiError(ErrorCode.AMBIGUOUS_PEER, text, ids)
