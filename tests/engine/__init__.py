"""The engine: its parts alone, then whole engines over loopback."""
