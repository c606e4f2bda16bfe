"""The look that all pages of the project share: the gate's report, the demo's.

A page writes the style sheet into itself, so that it needs nothing from outside::

    template.render(house_css=house_css())      # <style>{{ house_css }}</style>
"""

from __future__ import annotations

from importlib import resources


def house_css() -> str:
    """The style sheet: light, dark, narrow and print; safe to write into HTML as it stands."""
    return (resources.files("stimset.pages") / "house.css").read_text(encoding="utf-8")
