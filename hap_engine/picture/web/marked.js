/* Marks of a live intervention (marks.py): what it switched off is crossed out, what it restored gets a
   plus. Drawn in pixels over everything else, so that a dimmed picture keeps them. */

const SIGN = 4.5; // half the size of a sign on an edge, in pixels

const ENDS = ["x0", "y0", "x1", "y1", "bow"];

/** A plus for what is on again, a cross for what is off. */
const signPath = (x, y, r, on) =>
  on ? `M${x - r},${y}h${2 * r}M${x},${y - r}v${2 * r}` : `M${x - r},${y - r}l${2 * r},${2 * r}M${x - r},${y + r}l${2 * r},${-2 * r}`;

class Marked {
  constructor(panel, over) {
    this.panel = panel;
    this.group = over.appendChild(make("g", { class: "hap-marked", "aria-hidden": "true" }));
  }

  /** The marks, or null: of nodes those that mean something here, where one that was there is off or one that was not on. */
  get marks() {
    const { panel, panel: { view } } = this, { marks } = view;
    if (!marks) return null;
    const counts = ([id, on]) => panel.joint || view.choice.member(panel.side, view.index.get(id)) !== on;
    return { nodes: Object.fromEntries(Object.entries(marks.nodes).filter(counts)), edges: marks.edges };
  }

  /** What happened to a node, in words; empty for nothing. */
  said(id) {
    const on = this.marks?.nodes[id];
    return on === undefined ? "" : on ? "restored" : "switched off";
  }

  /** A node's tooltip, with what happened to it. */
  lines(id) {
    const [first, ...rest] = this.panel.view.node(id).lines, said = this.said(id), note = this.panel.view.own.notes[id];
    return [first, ...(note ? [`“${note}”`] : []), ...(said ? [`${said[0].toUpperCase()}${said.slice(1)}`] : []), ...rest];
  }

  /** How many things are off and on. */
  counts() {
    const all = this.marks ? [...Object.values(this.marks.nodes), ...this.marks.edges.map(({ on }) => on)] : [];
    return { off: all.filter((on) => !on).length, on: all.filter((on) => on).length };
  }

  draw() {
    this.group.replaceChildren();
    if (!this.marks) return;
    const { marks, panel, panel: { view } } = this, { edges, nodes } = view.scene;
    for (const i of panel.visible()) if (marks.nodes[nodes[edges.writer[i]].id] === false) this.edge({ on: false, ends: ENDS.map((key) => edges[key][i]) }, 0);
    for (const edge of marks.edges) this.edge(edge);
    for (const [id, on] of Object.entries(this.marks.nodes)) {
      const node = view.node(id);
      if (node && !node.hidden) this.node(this.panel.frame.box(node.box), on);
    }
  }

  node(box, on) {
    const { colours } = this.panel.view, around = grown(box, 2);
    this.group.append(make("rect", { ...around, rx: 3, fill: on ? "none" : colours.background, "fill-opacity": 0.75, stroke: colours.text, "stroke-width": 2 }));
    const size = Math.max(SIGN, Math.min(box.width, box.height) / 2);
    this.sign(box.x + box.width / 2, box.y + box.height / 2, size, on);
  }

  /** An edge that is cut, dotted, or restored; with a sign in its middle unless the whole node went. */
  edge({ on, ends: [x0, y0, x1, y1, bow] }, sign = SIGN) {
    const { frame, view: { colours, scene: { lift } } } = this.panel;
    const points = controls({ x0: [x0], y0: [y0], x1: [x1], y1: [y1], bow: [bow] }, 0, lift)
      .map((value, i) => (i % 2 ? frame.y(value) : frame.x(value)));
    const [a, b, c, d, e, f, g, h] = points;
    const line = { d: `M${a},${b}C${c},${d},${e},${f},${g},${h}`, fill: "none" };
    this.group.append(
      make("path", { ...line, stroke: colours.background, "stroke-width": 5 }),
      make("path", { ...line, stroke: colours.text, "stroke-width": 2, "stroke-dasharray": on ? "none" : "2 4" }));
    if (sign) this.sign((a + 3 * c + 3 * e + g) / 8, (b + 3 * d + 3 * f + h) / 8, sign, on);
  }

  /** A sign with a rim that shows on any ground. */
  sign(x, y, r, on) {
    const { colours } = this.panel.view, d = signPath(x, y, r, on);
    for (const [stroke, width] of [[colours.background, 6], [colours.text, 2.5]])
      this.group.append(make("path", { d, stroke, "stroke-width": width, "stroke-linecap": "round" }));
  }
}
