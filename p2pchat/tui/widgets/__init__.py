"""Thin widgets: they draw what the desk and the layout say and report what the person did."""
