"""The review as HTML, made of the proposals alone: no script, one style sheet, nothing from outside.

Usage::

    pages = Pages(base="/4fQ.../", minutes=10)
    pages.desk(desk.items(), desk.decisions, session.form)
    pages.proposal(proposal, report=True, form=session.form)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from custodian.publish.officer import Proposal
from custodian.publish.overriding import OverrideProposal
from custodian.review.items import Decision, Item, Kind, State
from stimset.gate_entry import MAX_REASON, MIN_REASON
from stimset.pages import house_css


class Pages:
    """Renders; holds nothing about anybody.

    Args:
        base: the path under which everything but the style sheet lies; begins and ends with a slash.
        minutes: until a session ends by itself.
    """

    def __init__(self, base: str, minutes: float) -> None:
        environment = Environment(
            loader=PackageLoader("custodian.review"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        )
        environment.filters |= {"measured": measured, "number": number, "sentence": sentence, "size": size}
        bounds = {"least": MIN_REASON, "most": MAX_REASON}
        environment.globals |= {"base": base, "minutes": round(minutes, 1), "State": State, "Kind": Kind, **bounds}
        self._environment = environment

    def desk(self, items: Sequence[Item], decisions: Sequence[Decision], form: str) -> str:
        """What waits, and what was decided since the page was opened."""
        return self._render("desk.html.j2", items=items, decisions=decisions, form=form)

    def proposal(
        self, item: Item, proposal: Proposal, *, report: bool, form: str, complaint: str = "", given: Mapping[str, str] | None = None
    ) -> str:
        """Everything that a decision is about, and the two forms.

        Args:
            item: the folder.
            proposal: what is in it, as it was examined just now.
            report: whether the gate's report can be shown.
            form: the session's form secret.
            complaint: why the last try was refused.
            given: what was typed then, so that nobody types it again.
        """
        return self._render(
            "proposal.html.j2", item=item, proposal=proposal, report=report, form=form, complaint=complaint,
            given=dict(given or {}),
        )  # fmt: skip

    def override(
        self, item: Item, proposal: OverrideProposal, *, form: str, complaint: str = "", given: Mapping[str, str] | None = None
    ) -> str:
        """Everything that the signature under an override is about, and the form; arguments as of `proposal`."""
        return self._render(
            "override.html.j2", item=item, proposal=proposal, request=proposal.request, form=form, complaint=complaint,
            given=dict(given or {}),
        )  # fmt: skip

    def unusable(self, item: Item, form: str, why: str = "", *, overtaken: bool = False) -> str:
        """A proposal that can't be decided on, and why: decided already, overtaken by another one, or not what it claims to be."""
        return self._render("unusable.html.j2", item=item, why=why, form=form, overtaken=overtaken)

    def message(self, title: str, text: str, *, back: bool = False) -> str:
        """One sentence with a title; `back` offers the way to the desk."""
        return self._render("message.html.j2", title=title, text=text, back=back, forward=False)

    def entered(self) -> str:
        """The way from the token's address to the desk.

        A page and not a redirect: the cookie is for requests that come from this site alone, and whoever followed the printed address from
        another program comes from elsewhere.
        """
        return self._render("message.html.j2", title="Open", text="The token is used up.", back=True, forward=True)

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)


def style_sheet() -> str:
    """The house's style and what the review adds to it."""
    own = resources.files("custodian.review") / "templates" / "review.css"
    return house_css() + own.read_text(encoding="utf-8")


def measured(value: float | None) -> str:
    """A measured number for people."""
    return "not measured" if value is None else number(value)


def number(value: float) -> str:
    """Four digits, with a true minus sign."""
    return f"{value:.4g}".replace("-", "−")


def sentence(text: str) -> str:
    """A message as a sentence."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def size(value: int) -> str:
    """Bytes as people say them."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value} bytes"
