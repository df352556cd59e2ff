"""The terminal screen: one more client of the local engine, which knows nothing below the API.

::

    session ──events, answers──► controller ──► model (pure) ──► layout (pure) ──► widgets ──► terminal
       ▲                             │
       └──────────requests───────────┘◄── keys, focus, paste

``model`` is what is true, ``layout`` where it stands, ``controller`` decides what to ask for; none of them imports
Textual. Widgets draw rows that already have the right width, and repaint only what changed: when nothing happens,
nothing is written to the terminal. Everything that came from outside passes :mod:`p2pchat.tui.cells` first.
"""
