#!/usr/bin/env python3
"""Draws the pictures of docs/explanation/merging.md.

    scripts/pictures.py [DIRECTORY]      writes them there, by default to docs/explanation

Python 3 and its standard library are enough. The same script always writes the same bytes; a test
compares what is in the repository with what it writes. Each picture shows a case of
merge-spec/cases, named at its function; nodes of the case that stay where they are may be left out.
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

# The colours follow the reader's: light unless the reader prefers dark. The card behind the drawing
# is opaque, so the drawing can be read on any page.
STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de }
  text { fill: #1f2328; font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
         font-size: 14px }
  .small { fill: #57606a; font-size: 12px }
  .head { font-weight: 600 }
  .name { text-anchor: middle }
  .middle { text-anchor: middle }
  .end { text-anchor: end }
  .line { stroke: #8c959f; stroke-width: 1.5; fill: none }
  .axis { stroke: #8c959f; stroke-width: 1; fill: none }
  .node { fill: #f6f8fa; stroke: #57606a; stroke-width: 1.5 }
  .moved { fill: #ddf4ff; stroke: #0969da }
  .kept { fill: #dafbe1; stroke: #1a7f37 }
  .gone { fill: #f6f8fa; stroke: #8c959f; stroke-dasharray: 4 3 }
  .bin { fill: none; stroke: #8c959f; stroke-dasharray: 4 3 }
  .skip { stroke: #cf222e; stroke-width: 1.5; fill: none; stroke-dasharray: 5 3 }
  .tip { fill: #cf222e }
  .bad { fill: #cf222e; font-size: 12px }
  .good { fill: #1a7f37; font-size: 12px }
  .new { fill: #0969da }
  .late { fill: #0969da; font-size: 12px }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #30363d }
    text { fill: #e6edf3 }
    .small { fill: #9198a1 }
    .line, .axis, .bin { stroke: #6e7681 }
    .node { fill: #161b22; stroke: #9198a1 }
    .moved { fill: #0c2d6b; stroke: #58a6ff }
    .kept { fill: #033a16; stroke: #3fb950 }
    .gone { fill: #161b22; stroke: #6e7681 }
    .skip { stroke: #f85149 }
    .tip, .bad { fill: #f85149 }
    .good { fill: #3fb950 }
    .new, .late { fill: #58a6ff }
  }
"""

RADIUS = 15
ACROSS = 56  # between the middles of two leaves
DOWN = 52  # between a node and its children


class Picture:
    """An SVG drawing, element by element."""

    def __init__(self, width, height, title, description):
        self.width, self.height = width, height
        self.title, self.description = title, description
        self.lines, self.shapes = [], []  # the lines lie below

    def text(self, x, y, text, style="middle"):
        self.shapes.append(f'<text x="{x:g}" y="{y:g}" class="{style}">{escape(text)}</text>')

    def path(self, drawn, style):
        self.lines.append(f'<path d="{drawn}" class="{style}"/>')

    def circle(self, x, y, label, style):
        self.shapes.append(f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS}" class="{style}"/>')
        self.text(x, y + 5, label, "name")

    def tree(self, middle, top, tree, styles=None, root="/"):
        """Draws a tree, given as dictionaries of names, and returns where its nodes are.

        `middle` is the x of the middle between its outermost leaves; `styles` may name a class for
        some nodes.
        """
        styles = styles or {}
        places, leaf = {}, 0

        def place(name, children, depth):
            nonlocal leaf
            below = [place(*child, depth + 1) for child in children.items()]
            if below:
                x = (below[0] + below[-1]) / 2
            else:
                x, leaf = leaf * ACROSS, leaf + 1
            places[name] = (x, depth)
            return x

        place(root, tree, 0)
        left = middle - (leaf - 1) * ACROSS / 2
        at = {name: (left + x, top + depth * DOWN) for name, (x, depth) in places.items()}

        def draw(name, children):
            x, y = at[name]
            for child, below in children.items():
                to_x, to_y = at[child]
                self.path(f"M{x:g} {y:g}L{to_x:g} {to_y:g}", "line")
                draw(child, below)
            self.circle(x, y, name, ("node " + styles.get(name, "")).strip())

        draw(root, tree)
        return at

    def trash(self, middle, y, name):
        """A box that stands for the trash, with a node in it."""
        x = middle - 48
        self.shapes.append(
            f'<rect x="{x:g}" y="{y - 23:g}" width="96" height="46" rx="6" class="bin"/>'
        )
        self.text(x + 30, y + 4, "trash", "small middle")
        self.circle(x + 72, y, name, "node gone")

    def arrow(self, start, bend, end):
        """A curved, broken arrow: something that was not done. It ends at the rim of a node."""
        (x, y), (bend_x, bend_y), (end_x, end_y) = start, bend, end
        self.path(f"M{x:g} {y:g}Q{bend_x:g} {bend_y:g} {end_x:g} {end_y:g}", "skip")
        length = ((end_x - bend_x) ** 2 + (end_y - bend_y) ** 2) ** 0.5
        ahead_x, ahead_y = (end_x - bend_x) / length, (end_y - bend_y) / length
        corners = [(end_x, end_y)]
        for side in (-4, 4):
            corners.append(
                (end_x - 9 * ahead_x - side * ahead_y, end_y - 9 * ahead_y + side * ahead_x)
            )
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self.shapes.append(f'<polygon points="{points}" class="tip"/>')

    def svg(self):
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
                f' width="{self.width}" height="{self.height}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<desc>{escape(self.description)}</desc>",
                f"<style>{STYLE}</style>",
                f'<rect x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="8"'
                ' class="card"/>',
                *self.lines,
                *self.shapes,
                "</svg>\n",
            ]
        )


COLUMN = 190


def columns(picture, heads):
    """Writes a heading of two lines over each column, and returns the columns' middles."""
    middles = []
    for i, (head, below) in enumerate(heads):
        middle = COLUMN * i + COLUMN / 2
        picture.text(middle, 30, head, "head middle")
        picture.text(middle, 49, below, "small middle")
        middles.append(middle)
        if i > 0:
            picture.path(f"M{COLUMN * i} 18V{picture.height - 18}", "axis")
    return middles


def cycle():
    """merge-spec/cases/a-cycle-of-two.toml"""
    picture = Picture(
        COLUMN * 4,
        250,
        "A cycle of two moves",
        "Both authors start with p and q below the root. A, at 3, moves p below q; B, at 9, moves q "
        "below p. Merged, p is below q; B's move is skipped, since q would be below itself.",
    )
    start, a, b, merged = columns(
        picture,
        [
            ("both start here", "p and q side by side"),
            ("A, at 3", "moves p below q"),
            ("B, at 9", "moves q below p"),
            ("both, merged", "A’s move holds"),
        ],
    )
    picture.tree(start, 88, {"p": {}, "q": {}})
    picture.tree(a, 88, {"q": {"p": {}}}, {"p": "moved"})
    picture.tree(b, 88, {"p": {"q": {}}}, {"q": "moved"})
    at = picture.tree(merged, 88, {"q": {"p": {}}}, {"p": "moved"})
    (q_x, q_y), (p_x, p_y) = at["q"], at["p"]
    picture.arrow((q_x + 16, q_y + 1), (q_x + 62, (q_y + p_y) / 2), (p_x + 16, p_y - 3))
    picture.text(merged, 232, "B’s move is skipped: a cycle", "bad middle")
    return picture


def hand_back():
    """merge-spec/cases/move-into-a-removed-subtree-is-handed-back.toml"""
    picture = Picture(
        COLUMN * 4,
        344,
        "A hand-back",
        "Both authors start with p, and q with x and y below it. A, at 3, moves x below p. B, at 9, "
        "removes p without knowing that. Merged, p is in the trash, and x with its y is back below "
        "q.",
    )
    start, a, b, merged = columns(
        picture,
        [
            ("both start here", "x is below q"),
            ("A, at 3", "moves x below p"),
            ("B, at 9", "removes p, unaware of A"),
            ("both, merged", "p goes, x does not"),
        ],
    )
    picture.tree(start, 88, {"p": {}, "q": {"x": {"y": {}}}})
    picture.tree(a, 88, {"p": {"x": {"y": {}}}, "q": {}}, {"x": "moved"})
    picture.tree(b, 88, {"q": {"x": {"y": {}}}})
    picture.trash(b, 304, "p")
    picture.tree(merged, 88, {"q": {"x": {"y": {}}}}, {"x": "kept"})
    picture.text(merged + 24, 189, "handed", "good")
    picture.text(merged + 24, 205, "back", "good")
    picture.trash(merged, 304, "p")
    return picture


def late():
    """merge-spec/cases/a-cycle-is-gone-when-a-move-between-comes-in-late.toml"""
    picture = Picture(
        COLUMN * 4,
        600,
        "A late change set",
        "All start with p, q and r below the root. A replica first gets A's save of time 3, which "
        "moves p below q, and B's of time 9, which moves q below p and is skipped as a cycle. Then "
        "C's save of time 5 comes, which moves p below r. It counts in its place between the two, "
        "and now B's move is carried out: q is below p, and p below r.",
    )
    middles = [COLUMN * i + COLUMN / 2 for i in range(4)]
    start, a, c, b = middles

    def axis(y, head, marks):
        picture.text(20, y - 44, head, "head")
        picture.path(f"M20 {y}H{picture.width - 30}", "axis")
        tip = picture.width - 28
        picture.path(f"M{tip - 8} {y - 4}L{tip} {y}L{tip - 8} {y + 4}", "axis")
        picture.text(picture.width - 22, y + 20, "time", "small end")
        for x, label, style in marks:
            picture.path(f"M{x} {y - 5}V{y + 5}", "axis")
            picture.text(x, y - 12, label, style)

    axis(
        84,
        "A replica that has heard of A and B",
        [
            (start, "start", "middle"),
            (a, "A, at 3: p below q", "middle"),
            (b, "B, at 9: q below p", "middle"),
        ],
    )
    picture.tree(start, 128, {"p": {}, "q": {}, "r": {}})
    picture.tree(a, 128, {"q": {"p": {}}, "r": {}}, {"p": "moved"})
    at = picture.tree(b, 128, {"q": {"p": {}}, "r": {}})
    (q_x, q_y), (p_x, p_y) = at["q"], at["p"]
    picture.arrow((q_x - 16, q_y + 1), (q_x - 62, (q_y + p_y) / 2), (p_x - 16, p_y - 3))
    picture.text(b, 268, "skipped: a cycle", "bad middle")
    picture.text(c, 160, "(C’s save is on its way)", "small middle")

    axis(
        356,
        "The same replica, once C’s save of time 5 has come too",
        [
            (start, "start", "middle"),
            (a, "A, at 3: p below q", "middle"),
            (c, "C, at 5: p below r", "new middle"),
            (b, "B, at 9: q below p", "middle"),
        ],
    )
    picture.tree(start, 400, {"p": {}, "q": {}, "r": {}})
    picture.tree(a, 400, {"q": {"p": {}}, "r": {}}, {"p": "moved"})
    picture.tree(c, 400, {"q": {}, "r": {"p": {}}}, {"p": "moved"})
    picture.tree(b, 400, {"r": {"p": {"q": {}}}}, {"q": "moved"})
    picture.text(c, 540, "came last, counts here", "late middle")
    picture.text(b + 24, 553, "no cycle", "good")
    picture.text(b + 24, 569, "any more", "good")
    return picture


PICTURES = {"cycle.svg": cycle, "hand-back.svg": hand_back, "late.svg": late}


def main():
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__)
        sys.exit(0 if len(sys.argv) == 2 else 2)
    default = Path(__file__).resolve().parent.parent / "docs" / "explanation"
    directory = Path(sys.argv[1]) if len(sys.argv) == 2 else default
    for name, draw in PICTURES.items():
        (directory / name).write_bytes(draw().svg().encode("utf-8"))


if __name__ == "__main__":
    main()
