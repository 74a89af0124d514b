"""Great Expectations' page of an audit, that loads nothing from anywhere: neither scripts nor styles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

_ELSEWHERE = re.compile(
    r"<script[^>]*\ssrc=[^>]*></script>|<link\s[^>]*>|<img\s[^>]*>|<footer.*?</footer>"
    r"|@media \(prefers-color-scheme: dark\).*?(?=</style>)",
    re.DOTALL,
)
_STYLE = Path(__file__).with_name("page.css")


def render_page(outcome: Any, heading: str, severities: Mapping[str, str]) -> str:
    """The HTML of a validation's result below a heading, and what follows where a rule is broken.

    It can be looked at without a network, and tells nobody that it is; Great Expectations' own takes
    scripts and styles from seven other hosts.
    """
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    content = ValidationResultsPageRenderer().render(outcome)
    page = str(DefaultJinjaPageView().render(content))  # type: ignore[no-untyped-call]
    style = f"<style>{_STYLE.read_text(encoding='utf-8')}</style>"
    page = _ELSEWHERE.sub("", page).replace("</head>", f"{style}</head>", 1)
    rows = "".join(f"<tr><td>{escape(rule)}</td><td>{how}</td></tr>" for rule, how in severities.items())
    table = f"<table><tr><th>Rule</th><th>Where it is broken</th></tr>{rows}</table>"
    page = page.replace("<body>", f"<body><h1>{escape(heading)}</h1>", 1)
    return page.replace("</body>", f"{table if rows else ''}</body>", 1)
