"""Links of the documents: files and headings that they lead to exist. Nothing is fetched."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent.resolve()
FOLDERS = ("benches", "configs", "docs", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *chain.from_iterable((ROOT / name).rglob("*.md") for name in FOLDERS)])


def tokens(text):
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        yield token
        yield from token.children or ()


def links(text):
    """Targets of links and images, without those in code."""
    return [str(target) for token in tokens(text) if (target := token.attrGet("href") or token.attrGet("src"))]


def anchors(text):
    """Names of the headings, as GitHub makes them."""
    names, seen = set(), Counter()
    heading = False
    for token in tokens(text):
        if heading and token.type == "inline":
            shown = "".join(child.content for child in token.children if child.type in {"text", "code_inline"})
            name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            names.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        heading = token.type == "heading_open"
    return names


def broken(document):
    """What is wrong with the links of a document."""
    text = document.read_text(encoding="utf-8")
    for link in links(text):
        parts = urlsplit(link)
        if parts.scheme:
            if parts.scheme != "https" or not parts.netloc:
                yield f"{link}: not https"
            continue
        target = (document.parent / unquote(parts.path)).resolve() if parts.path else document
        if not target.is_relative_to(ROOT) or not target.exists():
            yield f"{link}: no such file"
        elif parts.fragment and parts.fragment not in anchors(target.read_text(encoding="utf-8")):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    assert list(broken(document)) == []


def test_all_documents_are_looked_at():
    names = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    assert names >= {"README.md", "DESIGN.md", "SECURITY.md", "CHANGELOG.md", "configs/README.md", "benches/LOG.md"}
    assert any(links(path.read_text(encoding="utf-8")) for path in DOCUMENTS)


def test_broken_links_are_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    document = tmp_path / "a.md"
    document.write_text(
        "# A `code` heading, twice\n# A `code` heading, twice\n"
        "[1](#a-code-heading-twice) [2](#a-code-heading-twice-1) [3](a.md) ![4](b.png) [5](#nothing) [6](c.md#x)\n"
        "[7](http://example.org) [8](https://example.org) `[9](nowhere)` [10][ten]\n\n[ten]: d%20e.md\n",
        encoding="utf-8",
    )
    assert list(broken(document)) == [
        *("b.png: no such file", "#nothing: no such heading", "c.md#x: no such file"),
        *("http://example.org: not https", "d%20e.md: no such file"),
    ]
