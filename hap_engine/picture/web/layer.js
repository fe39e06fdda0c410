/* What a panel draws itself, in SVG, without Plotly: edges, ports, the light, and the first frame.

   Two pictures the size of the plot area: one under Plotly's (edges), one over it (the light, the
   focusable twins of the nodes). What is written in data units sits in a group with one transform, so
   that a pan or a zoom sets one attribute. Lines keep their width (`non-scaling-stroke`, in the CSS). */

// Width steps: share of the panel's edges up to this step, line width, opacity.
const STEPS = [[0.05, 2.6, 0.95], [0.2, 1.6, 0.85], [0.5, 1.0, 0.65], [1, 0.7, 0.5]];
const DASH = { left: "5 3" }; // colour never stands alone

class Layer {
  constructor(panel, element) {
    this.panel = panel;
    this.under = make("svg", { class: "hap-under", "aria-hidden": "true" });
    this.over = make("svg", { class: "hap-over" });
    this.edges = this.under.appendChild(make("g", { class: "hap-edges" }));
    this.still = this.under.appendChild(make("g", { class: "hap-still" }));
    this.litEdges = this.over.appendChild(make("g", { class: "hap-lit-edges" }));
    this.lit = this.over.appendChild(make("g", { class: "hap-lit" }));
    this.marked = new Marked(panel, this.over);
    this.twins = this.over.appendChild(make("g", { class: "hap-nodes", role: "group" }));
    element.querySelector(".hap-plot").before(this.under);
    element.querySelector(".hap-plot").after(this.over);
  }

  /** Show another part of the data. */
  move(frame) {
    for (const group of [this.edges, this.litEdges, this.twins]) group.setAttribute("transform", frame.matrix);
    if (this.still.childElementCount) this.drawStill();
  }

  drawEdges() {
    const { panel } = this;
    const { paths, colours } = panel.view;
    const drawn = [...panel.buckets()].map(([key, edges]) => {
      const [status, step, faint] = key.split(" ");
      const [width, opacity] = panel.stroke(status, step, faint);
      return make("path", {
        d: edges.map((i) => paths[i]).join(""), stroke: colours[status], "stroke-width": width,
        "stroke-opacity": opacity, "stroke-dasharray": panel.dash(status), "data-status": status, "data-edges": edges.length,
      });
    });
    const lane = this.lane();
    const extra = make("path", { d: panel.extra().join(""), stroke: colours.muted, "stroke-width": 0.6, "stroke-opacity": 0.4, "data-status": "candidate" });
    this.edges.replaceChildren(...lane, extra, ...drawn, ...this.ports());
  }

  /** The lane of the MLPs while it is closed. */
  lane() {
    const { scene: { nodes }, choice, colours } = this.panel.view, bars = nodes.filter(({ kind, folded }) => kind === "mlp" && !folded);
    if (choice.lane || !bars.length) return [];
    const [x, low, half, tall] = bars[0].box, high = bars.at(-1).box[1];
    return [make("path", { class: "hap-lane", d: `M${x - half},${low - tall}V${high + tall}H${x + half}V${low - tall}Z`, stroke: colours.muted, "stroke-width": 1, style: `fill: ${colours.surface}` })];
  }

  /** A tick on every port that an edge uses, and a bracket under heads that share a key and value. */
  ports() {
    const { colours, ports } = this.panel.view;
    const used = this.panel.readers();
    const ticks = used.map(({ port: [x, y] }) => `M${x},${y - 0.08}L${x},${y + 0.08}`);
    const brackets = used.filter((reader) => reader.bracket).map((reader) => `M${reader.bracket.join("L")}`);
    return [
      make("path", { d: [...new Set(brackets)].join(""), stroke: colours.other, "stroke-width": 1, "stroke-opacity": 0.55 }),
      make("path", { d: ticks.join(""), stroke: colours.other, "stroke-width": ports ? 3 : 2 }),
    ];
  }

  /** All nodes, for the time until Plotly draws them. */
  drawStill() {
    const { nodes } = this.panel.view.scene;
    const group = make("g");
    nodes.forEach((node, i) => this.glyph(group, node, i, 0.3));
    this.still.replaceChildren(group);
  }

  light({ ids, edges, pinned }) {
    const { panel, lit } = this;
    const { scene, index, paths, colours } = panel.view;
    const here = new Set(panel.visible());
    const glow = new Set(ids.map((id) => index.get(id)));
    const named = new Set(glow);
    const byStatus = new Map();
    for (const i of edges) {
      if (!here.has(i)) continue;
      const status = STATUS[scene.edges.status[i]];
      byStatus.set(status, `${byStatus.get(status) ?? ""}${paths[i]}`);
      glow.add(scene.edges.writer[i]);
      for (const node of scene.readers[scene.edges.reader[i]].nodes) glow.add(node);
    }
    this.litEdges.replaceChildren(...[...byStatus].map(([status, d]) =>
      make("path", { d, stroke: colours[status], "stroke-width": edges.length === 1 ? 3.5 : 2, "stroke-dasharray": edges.length > DENSE ? "none" : DASH[status] ?? "none" })));
    this.marked.draw();
    lit.replaceChildren();
    for (const i of glow) this.glyph(lit, scene.nodes[i], i);
    for (const i of named) this.write(lit, scene.nodes[i], this.caption(scene.nodes[i], ids));
    for (const id of pinned) {
      const node = scene.nodes[index.get(id)];
      if (node.hidden) continue;
      lit.append(make("rect", { ...grown(panel.frame.box(node.box), 1), rx: 2, fill: "none", stroke: colours.text, "stroke-width": 3, class: "hap-pin" }));
    }
  }

  /** What to write above a lit node: its full name if it is the only one and has no tooltip here. */
  caption(node, ids) {
    if (node.id === this.panel.pointed) return "";
    if (ids.length === 1) return node.name;
    return node.ring || fits("labels", this.panel.frame.box(node.box)) ? "" : node.short;
  }

  glyph(group, node, i, ghost = 1) {
    if (node.hidden) return;
    const { colours } = this.panel.view;
    const box = this.panel.frame.box(node.box);
    const status = this.panel.status(i);
    const paint = status
      ? { fill: colours[status], opacity: this.panel.quiet(i) && ghost < 1 ? QUIET : 1 }
      : { fill: colours.background, stroke: colours.muted, "stroke-dasharray": "3 2", opacity: ghost };
    group.append(make("rect", { ...box, rx: node.kind === "head" ? 0 : 0.3 * box.height, ...paint }));
    if (node.ring)
      group.append(make("rect", { ...grown(box, RING), rx: 3, fill: "none", stroke: colours.s_inhibition, "stroke-width": 2.2, "stroke-dasharray": status ? "none" : "2 3" }));
    const middle = box.x + box.width / 2;
    const text = node.kind === "input" || node.kind === "logits" ? node.short : written(node, box);
    if (text && (status || node.mark))
      group.append(make("text", { x: middle, y: box.y + box.height / 2 + 4, fill: !status ? colours[node.colour] : this.panel.quiet(i) && ghost < 1 ? colours.other : colours.background }, text));
  }

  /** A name above a node, readable over whatever lies there. */
  write(group, node, caption) {
    if (!caption || node.hidden) return;
    const { colours } = this.panel.view, box = this.panel.frame.box(node.box);
    const reach = 3.2 * caption.length; // half of its width, about
    const x = Math.min(Math.max(box.x + box.width / 2, reach), this.panel.frame.width - reach);
    group.append(make("text", { x, y: box.y - 7, fill: colours.text, stroke: colours.background, class: "hap-caption" }, caption));
  }

  /** Invisible focusable twins of the kept nodes, for keyboards and screen readers. */
  place(current) {
    const { nodes } = this.panel.view.scene;
    const old = new Map([...this.twins.children].map((rect) => [rect.dataset.id, rect]));
    nodes.forEach((node, i) => {
      if (node.hidden || !(this.panel.status(i) || this.panel.elsewhere(i))) return;
      const [x, y, a, b] = node.box;
      const rect = old.get(node.id) ?? make("rect", { role: "button", "data-id": node.id });
      old.delete(node.id);
      const shape = { x: x - a, y: y - b, width: 2 * a, height: 2 * b, "aria-label": this.panel.spoken(node, i) };
      for (const [key, value] of Object.entries({ ...shape, tabindex: -1 })) rect.setAttribute(key, value);
      rect.setAttribute("aria-pressed", this.panel.view.pinned.includes(node.id));
      if (!rect.parentNode) this.twins.append(rect);
    });
    for (const rect of old.values()) rect.remove();
    (this.twin(current) ?? this.twins.firstChild)?.setAttribute("tabindex", 0);
  }

  twin(id) {
    return id && this.twins.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }
}
