"""The exception tree. Each error's ``str()`` is one line that a user can act on.

::

    P2PChatError
    ├── ConfigError            a setting is wrong; names the file and line, the variable or the flag
    ├── IdentityError          the device key cannot be read or used
    ├── StoreError             the database cannot be opened, read or written
    ├── WireError              bytes that are not a frame (always the other side's fault)
    ├── ProtocolError
    │   ├── LocalProtocolError   we tried a step that the protocol forbids: a bug of ours, nothing changed
    │   └── RemoteProtocolError  the peer broke the protocol: its link is closed with this reason
    ├── TransferError          a file could not be offered, fetched or put in place
    ├── DiscoveryError         mDNS could not be started or used
    ├── LinkError              a dial, a TLS handshake or an established link failed
    └── ApiError               the engine answered a request with an error
        └── EngineUnavailable    no engine could be started or reached

Adapters translate ``OSError`` and library exceptions into this tree in one place each. Reasons that are
stored (dead letters, refusals) are :mod:`p2pchat.model` enums with a detail string, never pickled exceptions.
"""

from __future__ import annotations


class P2PChatError(Exception):
    """Base of everything that this package raises on purpose."""


class ConfigError(P2PChatError):
    """A setting is wrong; the text names where it came from and what would be right."""


class IdentityError(P2PChatError):
    """The device key cannot be read, written or trusted."""


class StoreError(P2PChatError):
    """The database cannot be opened, read or written."""


class WireError(P2PChatError):
    """Received bytes that are not a frame of the protocol."""


class ProtocolError(P2PChatError):
    """A step that the protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """Our side tried an illegal step; nothing was changed or sent."""


class RemoteProtocolError(ProtocolError):
    """The peer took an illegal step; its link is closed."""


class TransferError(P2PChatError):
    """A file could not be offered, fetched or put in place."""


class DiscoveryError(P2PChatError):
    """mDNS could not be started or used."""


class LinkError(P2PChatError):
    """A dial, a handshake or an established link failed."""


class ApiError(P2PChatError):
    """The engine answered a request with an error.

    Attributes:
        code: a stable word such as ``no_such_peer`` (see ``p2pchat.api.types.ErrorCode``).
        candidates: for ``ambiguous_peer``, the device ids that matched.
    """

    def __init__(self, code: str, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.candidates = candidates


class EngineUnavailable(ApiError):
    """No engine could be started or reached within the time that clients wait."""

    def __init__(self, message: str) -> None:
        super().__init__("engine_unavailable", message)
