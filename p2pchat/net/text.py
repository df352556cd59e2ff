"""Texts that must fit into a number of bytes."""

from __future__ import annotations


def cut_bytes(text: str, max_bytes: int) -> str:
    """Cut a text to a number of bytes of UTF-8, between characters."""
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")
