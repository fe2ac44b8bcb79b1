"""A document of headings, paragraphs, tables and pictures, as HTML or Markdown."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

#: Characters that Markdown may take for its own.
_MARKS = str.maketrans({mark: f"\\{mark}" for mark in r"\`*_{}[]<>#|~"})

_STYLE = """
:root { color-scheme: light dark; --line: #c8ccd0; --soft: #f3f5f7; --problem: #b3261e;
  --caution: #8a5a00; --note: #30638e; }
@media (prefers-color-scheme: dark) { :root { --line: #4a4f55; --soft: #24282c;
  --problem: #ff8a80; --caution: #f2c14e; --note: #8fc1e3; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { font-size: .9rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-bottom: 1px solid var(--line); }
th { overflow-wrap: break-word; }
table:not(.cards) th[scope=row] { width: 8rem; }
td { overflow-wrap: anywhere; }
thead th { background: var(--soft); }
.problem { color: var(--problem); } .caution { color: var(--caution); }
.note { color: var(--note); }
@media (max-width: 40rem) { body { padding: .6rem; }
  .cards thead { display: none; } .cards tr { display: block; padding: .5rem 0;
    border-bottom: 1px solid var(--line); }
  .cards th, .cards td { display: block; border: 0; padding: .1rem 0; } }
@page { margin: 15mm; }
@media print { :root { color-scheme: light; } body { max-width: none; padding: 0; font-size: 10pt; }
  figure, tr, h2 { break-inside: avoid; } h2, p:has(+ figure) { break-after: avoid; }
  img { max-height: 110mm; } .table { overflow: visible; } }
""".strip()


@dataclass(frozen=True)
class Heading:
    """Heading of a section."""

    text: str

    def html(self) -> str:
        """Return the HTML."""
        return f"<h2>{escape(self.text)}</h2>"

    def markdown(self) -> str:
        """Return the Markdown."""
        return f"## {_plain(self.text)}"


@dataclass(frozen=True)
class Paragraph:
    """Paragraph of text."""

    text: str

    def html(self) -> str:
        """Return the HTML."""
        return f"<p>{escape(self.text)}</p>"

    def markdown(self) -> str:
        """Return the Markdown."""
        return _plain(self.text)


@dataclass(frozen=True)
class Bullets:
    """List of texts."""

    texts: Sequence[str]

    def html(self) -> str:
        """Return the HTML."""
        return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in self.texts)}</ul>"

    def markdown(self) -> str:
        """Return the Markdown."""
        return "\n".join(f"- {_plain(text)}" for text in self.texts)


@dataclass(frozen=True)
class Table:
    """Table; the first cell of a row is its heading."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    #: Whether rows become cards on narrow screens.
    cards: bool = False

    def html(self) -> str:
        """Return the HTML."""
        head = "".join(f'<th scope="col">{escape(text)}</th>' for text in self.header)
        body = "".join(f"<tr>{self._row(row)}</tr>" for row in self.rows)
        kind = ' class="cards"' if self.cards else ""
        return (
            f'<div class="table"><table{kind}><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _row(self, row: Sequence[str]) -> str:
        first, *others = row
        kind = f' class="{first}"' if first in ("problem", "caution", "note") else ""
        cells = "".join(f"<td>{escape(text)}</td>" for text in others)
        return f'<th scope="row"{kind}>{escape(first)}</th>{cells}'

    def markdown(self) -> str:
        """Return the Markdown."""
        rows = [self.header, ["---"] * len(self.header), *self.rows]
        lines = [
            "| " + " | ".join(text if i == 1 else _plain(text) for text in row) + " |"
            for i, row in enumerate(rows)
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Picture:
    """Picture with a caption, and a text for those who do not see it."""

    png: bytes
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"

    def html(self) -> str:
        """Return the HTML."""
        return (
            f'<figure><img src="{self.uri}" alt="{escape(self.alt)}">'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )

    def markdown(self, name: str) -> str:
        """Return the Markdown, which refers to the picture itself by a name."""
        return f"![{_plain(self.alt)}][{name}]\n\n{_plain(self.caption)}"


Block = Heading | Paragraph | Bullets | Table | Picture


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """Return a page that needs nothing else."""
    body = "\n".join(block.html() for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Return Markdown, with the pictures as data at its end."""
    parts = [f"# {_plain(title)}"]
    pictures: list[str] = []
    for block in blocks:
        if isinstance(block, Picture):
            name = f"picture-{len(pictures) + 1}"  # texts may repeat, and so would names by them
            pictures.append(f"[{name}]: {block.uri}")
            parts.append(block.markdown(name))
        else:
            parts.append(block.markdown())
    return "\n\n".join(parts + pictures) + "\n"


def _plain(text: str) -> str:
    """Return text of one line in which nothing has a meaning in Markdown."""
    return " ".join(text.split()).translate(_MARKS)
