"""p2pchat: chat in the terminal, straight to the other devices on your network."""

__version__ = "0.1.0"
