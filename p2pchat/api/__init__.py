"""The local API: how every user interface talks to the engine.

JSON-RPC 2.0, one JSON object a line, UTF-8, over a Unix domain socket in a 0700 directory. Any language can speak
it. Requests carry an integer or string ``id``; answers may come in another order. After ``events.subscribe`` or
``logs.subscribe`` the engine also sends notifications (objects without ``id``): ``{"method": "event", ...}`` and
``{"method": "log", ...}``.

``types.py`` is the schema, typed once: the engine, the clients and the reference that users read are made from it.
``client.py`` is the asyncio client, ``blocking.py`` the plain one for commands that must start fast, ``launch.py``
finds the socket and starts an engine when none runs.
"""
