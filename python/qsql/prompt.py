"""The prompt, one for training and generation, and the way back: the SQL in what a model answers.

Knows nothing of models, tokenizers and chat templates.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTRUCTION = "Generate SQL from the given schema and question. Output SQL only."

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
# Whatever models get stuck in must take no longer than other text. So nothing here may look at a run anew from each of
# its characters, no two repetitions beside each other may share characters, and no loop may copy the rest of a text.
_TURN = re.compile(r"(?<!\s)\s*<\|im_start\|>assistant\n")
_BLANKS = re.compile(r"\s*")
_SPECIAL = re.compile(r"<\|\w+\|>|</s>")
_FENCE = re.compile(r"```[ \t]*([A-Za-z][\w+-]*)?[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LABEL = re.compile(
    r"^[ \t>*#-]*(?:(?:the|your|final|corrected|resulting)[ \t]+)*(?:(?:sqlite|sql)[ \t]*)?"
    r"(?:query|answer|sql|statement|output)(?:[ \t]+is)?[ \t*]*:[ \t*]*",
    re.IGNORECASE | re.MULTILINE,
)

# `with` and `select` are words of English too. What follows tells them apart.
_COMMON_TABLE = r"with\s+(?:recursive\s+)?[\w\"`\[\]]+\s*(?:\([^()]*\)\s*)?as\s*(?:(?:not\s+)?materialized\s*)?\("
_BARE_QUERY = rf"select\b|{_COMMON_TABLE}|values\s*\("
_QUERY = re.compile(rf"\(*\s*select\b|{_BARE_QUERY}", re.IGNORECASE)
_STATEMENT = re.compile(
    rf"{_QUERY.pattern}|(?:insert|replace|update|delete|create|drop|alter|pragma|attach|explain|vacuum)\b",
    re.IGNORECASE,
)
_QUERY_AT_LINE = re.compile(rf"^[ \t]*(?:\(+\s*select\b|{_BARE_QUERY})", re.IGNORECASE | re.MULTILINE)
_QUERY_IN_PROSE = re.compile(
    rf"\bSELECT\s+(?!\s)(?:DISTINCT\s|\*|[^\n]{{0,300}}?\s(?i:FROM)\s)|\b(?=W)(?i:{_COMMON_TABLE})"
)

# What tells where a query ends: what hides a semicolon, parentheses, and the ends themselves.
_PIECE = re.compile(
    r"(?P<hidden>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`\n]*`|\[[^\[\]\n]*\]|--[^\n]*|/\*.*?(?:\*/|\Z))"
    r"|(?P<open>\()|(?P<close>\))|(?P<semicolon>;)|(?P<line>\n[ \t]*(?P<blank>\n\s*)?)",
    re.DOTALL,
)
_GOES_ON = re.compile(
    r"from\b|where\b|group\s+by\b|order\s+by\b|having\b|limit\b|offset\b|union\b|intersect\b|except\b|(?:left|right|full|inner|"
    r"cross|natural)\b.*\bjoin\b|join\b|on\b|using\b|and\b|or\b|select\b|window\b|values\b|[(),]|--|/\*",
    re.IGNORECASE,
)
_AFTERWORD = re.compile(
    r"(?:explanation|note|schema|question|answer|output|result|sql|example)s?[ \t*]*:|"
    r"(?:this|the|that|here|it|in|i|we|you|please|explanation)[ \t]+[a-z]+[ \t]+[a-z]+|[*#>]{1,3}[ \t]*[A-Z*]|```",
    re.IGNORECASE,
)


def build_prompt(schema: str, question: str) -> str:
    """Write the prompt of a question: the instruction, the schema as `CREATE TABLE` statements, and the question."""
    return f"{INSTRUCTION}\n\nSchema:\n{schema}\n\nQuestion:\n{question}\n"


def extract_sql(completion: str) -> str:
    """Find the query in what a model answers, without its semicolon.

    Thoughts (`<think>`), code fences, labels such as "SQL:", explanations around the query and everything behind the
    first statement are left out. An answer that is nothing but SQL comes back as it is.

    Returns:
        The query, or the empty string if there is none.
    """
    # A template may open the thought in the prompt, so that only its end is in the completion.
    text = _THOUGHT.sub("", completion).rpartition("</think>")[2]
    text = _SPECIAL.split(_TURN.sub("", text, count=1), maxsplit=1)[0].strip()
    return _first_statement(next(_answers(text), ""))


def _answers(text: str) -> Iterator[str]:
    """Texts that begin with a statement, the likeliest first."""
    fences = list(_FENCE.finditer(text))
    before = text[: fences[0].start()] if fences else text
    if _STATEMENT.match(text) and (not fences or re.search(r"\bfrom\b", before, re.IGNORECASE)):
        yield text
    for fence in fences:
        body = _LABEL.sub("", fence[2].strip(), count=1)
        if _STATEMENT.match(body):
            yield body
    text = _FENCE.sub("\n", text).strip()
    for label in _LABEL.finditer(text):
        start = _BLANKS.match(text, label.end()).end()  # type: ignore[union-attr]
        is_code = text.startswith("`", start)
        if _STATEMENT.match(text, start + is_code):
            answer = text[start + is_code :]
            yield answer.partition("`\n")[0].removesuffix("`") if is_code else answer
    if line := _QUERY_AT_LINE.search(text):
        yield text[line.start() :].lstrip()
    yield from (code[1].strip() for code in _CODE.finditer(text) if _QUERY.match(code[1].strip()))
    if query := _QUERY_IN_PROSE.search(text):
        yield text[query.start() :]


def _first_statement(text: str) -> str:
    """Cut off what does not belong to the statement at the start of `text`."""
    depth = 0
    for piece in _PIECE.finditer(text):
        if piece["open"]:
            depth += 1
        elif piece["close"]:
            depth -= 1
        elif piece["semicolon"]:
            return text[: piece.start()].rstrip()
        elif piece["line"] is not None and depth <= 0:
            behind = piece.end()
            if _AFTERWORD.match(text, behind) or (piece["blank"] and not _GOES_ON.match(text, behind)):
                return text[: piece.start()].rstrip()
    return text.rstrip()
