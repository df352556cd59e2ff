"""The lab: real processes in network namespaces that the tests made themselves. See ``net.py`` and ``host.py``.

It runs where ``P2PCHAT_LAB`` is set, as root, with the tools that ``conftest.py`` names; ``P2PCHAT_LAB=required`` makes
a missing tool an error. What a run did is judged by ``judge.py``.
"""
