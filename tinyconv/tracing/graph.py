"""A trace as a graph: the operations from top to bottom, beside them each backward pass from bottom to top; DOT and SVG.

An operation stands in the layer below the last of those whose results it reads, so that branches stand side by side; what a
backward pass made of it stands in the same layer, in that pass's lane. Operations of a gradient rule are drawn where a later
backward pass comes by them; the others are in the tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from .recorder import Event, Fill, Pull, Step, Sweep, walk
from .words import SPACE, by, duration, norm, title

PAGE = 'font-family="system-ui, DejaVu Sans, sans-serif"'
CHAR, BOLD, LINE, PAD, GAP, LAYER, LANE = 6.8, 7.7, 16, 9, 26, 34, 70  # pixels: of a letter, a line, and between boxes
FORWARD, BACKWARD, BAD = ("#c6e2f5", "#0072b2"), ("#fbe3c4", "#d55e00"), "#a11"


@dataclass
class Box:
    """A node: its lines, the first of them its title, and where it stands."""

    key: str
    lines: list[str]
    lane: int
    layer: int
    bad: bool
    x: float = 0.0
    y: float = 0.0
    aside: float = 0.0  # right of all boxes of its lane
    row: tuple[float, float] = (0.0, 0.0)  # top and bottom of its layer
    width: float = field(init=False)
    height: float = field(init=False)

    def __post_init__(self) -> None:
        self.width = max(len(self.lines[0]) * BOLD, *(len(line) * CHAR for line in self.lines)) + 2 * PAD
        self.height = len(self.lines) * LINE + 2 * PAD - 4


@dataclass
class Graph:
    """Boxes and arrows between them, by key, each with a text (a shape)."""

    boxes: dict[str, Box]
    arrows: list[tuple[str, str, str]]


def graph(events: Sequence[Event]) -> Graph:
    """The graph of a trace: a box for each operation, and one for what each backward pass made of it."""
    sweeps = [event for event in events if isinstance(event, Sweep)]
    pulled = {pull.step for sweep in sweeps for pull in sweep.pulls}
    boxes: dict[str, Box] = {}
    arrows: list[tuple[str, str, str]] = []
    layers: dict[int, int] = {}
    top = {id(event) for event in events}
    for step in walk(events):
        if isinstance(step, Step) and (id(step) in top or step.number in pulled):
            before = [(o.source.step, by(o.value.shape)) for o in step.operands if o.source.step in layers]
            layers[step.number] = 1 + max([layers[number] for number, _ in before if number], default=-1)
            boxes[_key(step.number)] = Box(_key(step.number), _forward(step), 0, layers[step.number], not step.out.finite)
            arrows += dict.fromkeys((_key(number), _key(step.number), shape) for number, shape in before)
    last = max(layers.values(), default=-1)
    for lane, sweep in enumerate(sweeps, 1):
        made: dict[int, str] = {}
        for n, pull in enumerate(sweep.pulls):
            key = f"back{lane}_{n}"
            if pull.step is None:
                last += 1
            layer = last if pull.step is None else layers[pull.step]
            boxes[key] = Box(key, _backward(pull), lane, layer, not (pull.g.finite and all(f.value.finite for f in pull.fills)))
            if pull.step:
                made[pull.step] = key
        for n, pull in enumerate(sweep.pulls):
            arrows += dict.fromkeys((f"back{lane}_{n}", made[f.source.step], by(f.value.shape)) for f in pull.fills
                                    if f.source.step in made)
        arrows += [(_key(s.step), made[s.step], "") for s in sweep.start if s.step in made]
    return Graph(boxes, arrows)


def _key(number: int | None) -> str:
    return f"op{number}"


def _forward(step: Step) -> list[str]:
    leaves = [f"{o.slot} = {o.source} {by(o.value.shape)}" for o in step.operands if o.source.step is None]
    took = "".join(f", by {c.kernel.algorithm}" for c in step.choices)
    return [f"{step.op} #{step.number}", *([step.meta] if step.meta else []), *leaves,
            f"{by(step.out.shape)}, {duration(step.seconds)}{took}"]


def _backward(pull: Pull) -> list[str]:
    took = "".join(f", by {c.kernel.algorithm}" for c in pull.choices)
    return [f"{title(pull)}: |g| {norm(pull.g)}, {duration(pull.seconds)}{took}", *map(_rule, pull.fills)]


def _rule(fill: Fill) -> str:
    took = "".join(f" by {c.kernel.algorithm}" for e in fill.events if isinstance(e, Step) for c in e.choices)
    leaf = "" if fill.source.step else f", for {fill.source}"
    rule = fill.rule if len(fill.rule) < 60 else fill.rule[:57] + "..."
    return f"{rule}{took}{leaf}: |g| {norm(fill.value)}"


# -- as text for Graphviz ------------------------------------------------------------------------------------------


def dot(g: Graph) -> str:
    """The graph in the language of Graphviz."""
    def quoted(lines: Sequence[str]) -> str:
        return "".join(line.replace("\\", "\\\\").replace('"', '\\"').replace(SPACE, " ") + "\\l" for line in lines)

    text = ["digraph trace {", '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=10];',
            '  edge [fontname="sans-serif", fontsize=8];']
    for box in g.boxes.values():
        fill, edge = BACKWARD if box.lane else FORWARD
        text.append(f'  {box.key} [label="{quoted(box.lines)}", fillcolor="{fill}", color="{BAD if box.bad else edge}"'
                    f"{', penwidth=3' if box.bad else ''}];")
    for a, b, label in g.arrows:
        style = ", ".join(filter(None, [f'label="{label}"' if label else "", "style=dashed" if not label else "",
                                        f'color="{(BACKWARD if g.boxes[b].lane else FORWARD)[1]}"',
                                        "constraint=false" if g.boxes[b].lane and not label else ""]))
        text.append(f"  {a} -> {b} [{style}];")
    return "\n".join([*text, "}", ""])


# -- as a picture --------------------------------------------------------------------------------------------------


def svg(g: Graph) -> str:
    """The graph as a picture that needs no other file."""
    width, height = _place(g)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} '
             f'{height:.0f}" {PAGE} font-size="12">', '<rect width="100%" height="100%" fill="#fff"/>', "<defs>"]
    for name, (_, edge) in (("f", FORWARD), ("b", BACKWARD)):
        parts.append(f'<marker id="{name}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
                     f'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="{edge}"/></marker>')
    parts.append("</defs>")
    parts += [part for a, b, label in g.arrows for part in _arrow(g.boxes[a], g.boxes[b], label)]
    parts += [part for box in g.boxes.values() for part in _drawn(box)]
    return "\n".join([*parts, "</svg>", ""])


def _place(g: Graph) -> tuple[float, float]:
    """Give each box its place: layers one under the other, in each lane its boxes side by side. The size of all."""
    boxes = g.boxes.values()
    layers: dict[int, dict[int, list[Box]]] = {}
    for box in boxes:
        layers.setdefault(box.layer, {}).setdefault(box.lane, []).append(box)
    lanes = {lane: max(_row(row.get(lane, [])) for row in layers.values()) for lane in sorted({b.lane for b in boxes})}
    y = 40.0
    for layer in sorted(layers):
        tall = max(box.height for row in layers[layer].values() for box in row)
        left = 2.0 * GAP
        for lane, wide in lanes.items():
            row = layers[layer].get(lane, [])
            x = left + (wide - _row(row)) / 2
            for box in row:
                box.x, box.y = x, y + (tall - box.height) / 2
                x += box.width + GAP
                box.aside, box.row = left + wide + GAP / 2, (y, y + tall)
            left += wide + LANE
        y += tall + LAYER
    return sum(lanes.values()) + LANE * (len(lanes) - 1) + 4.0 * GAP, y


def _row(row: Sequence[Box]) -> float:
    return sum(box.width for box in row) + GAP * (len(row) - 1) if row else 0.0


def _arrow(a: Box, b: Box, label: str) -> Iterator[str]:
    """From one box to the other: down in a forward pass, up in a backward one, aside where something stands between."""
    color, head = (BACKWARD[1], "b") if b.lane else (FORWARD[1], "f")
    dashed = ' stroke-dasharray="5 4"' if not label else ""
    ax, bx = a.x + a.width / 2, b.x + b.width / 2
    if a.lane != b.lane:
        x1, y1, x2, y2 = a.x + a.width, a.y + a.height / 2, b.x, b.y + b.height / 2
        path = f"M{x1:.1f} {y1:.1f}C{x1 + 30:.1f} {y1:.1f} {x2 - 30:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        lx, ly = (x1 + x2) / 2, (y1 + y2) / 2
    elif abs(a.layer - b.layer) == 1:
        down = b.y > a.y
        y1, y2 = (a.y + a.height, b.y) if down else (a.y, b.y + b.height)
        bend = (y2 - y1) / 2
        path = f"M{ax:.1f} {y1:.1f}C{ax:.1f} {y1 + bend:.1f} {bx:.1f} {y2 - bend:.1f} {bx:.1f} {y2:.1f}"
        lx, ly = (ax + bx) / 2, (y1 + y2) / 2 + 4
    else:  # past what stands between: out of the row, aside, and into the other row
        down = b.y > a.y
        lx, ly = a.aside + 3 * (abs(a.layer - b.layer) % 5), (a.y + b.y) / 2
        x1, x2 = ax + a.width / 4, bx + b.width / 4
        y1, y2 = (a.y + a.height, b.y) if down else (a.y, b.y + b.height)
        out, into = (a.row[1] + 8, b.row[0] - 16) if down else (a.row[0] - 8, b.row[1] + 16)
        path = f"M{x1:.1f} {y1:.1f}V{out:.1f}H{lx:.1f}V{into:.1f}H{x2:.1f}V{y2:.1f}"
    yield (f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.4" stroke-linejoin="round"{dashed} '
           f'marker-end="url(#{head})"/>')
    if label:
        yield f'<text x="{lx + 6:.1f}" y="{ly:.1f}" font-size="10" fill="#5f6770">{escape(label)}</text>'


def _drawn(box: Box) -> Iterator[str]:
    fill, edge = BACKWARD if box.lane else FORWARD
    yield (f'<g id="{box.key}"><rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="6" '
           f'fill="{fill}" stroke="{BAD if box.bad else edge}" stroke-width="{3 if box.bad else 1.2}"/>')
    for n, line in enumerate(box.lines):
        weight = ' font-weight="600"' if n == 0 else ""
        yield f'<text x="{box.x + PAD:.1f}" y="{box.y + PAD + 8 + n * LINE:.1f}" fill="#222"{weight}>{escape(line)}</text>'
    yield "</g>"
