/* One panel: a Plotly picture, and on top of it what Plotly does not draw.

   The light is a <g> inside Plotly's plot area, so it moves and clips with a drag; it holds copies of
   the lit edges and nodes while one CSS class fades the rest. A second <g> holds focusable twins of
   the nodes. Neither makes Plotly draw again. */

const SVG = "http://www.w3.org/2000/svg";
const AREA = ".overplot > .xy"; // Plotly's group for everything inside the axes
const CONFIG = {
  scrollZoom: true,
  displaylogo: false,
  doubleClick: "reset",
  modeBarButtons: [["zoomIn2d", "zoomOut2d", "toImage"]],
  toImageButtonOptions: { format: "svg", filename: "circuit" },
};
const READABLE = { labels: [26, 13], "port labels": [46, 20] }; // size of a head from which texts show
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const pairs = ([a, b, c, d]) => [[a, b], [c, d]];

const make = (name, attributes) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

const write = (text, attributes) => {
  const element = make("text", attributes);
  element.textContent = text;
  return element;
};

const grown = ({ x, y, width, height }, by) => ({
  x: x - by, y: y - by, width: width + 2 * by, height: height + 2 * by,
});

const fits = (name, { width, height }) => width >= READABLE[name][0] && height >= READABLE[name][1];

class Panel {
  constructor(view, element) {
    this.view = view;
    this.plot = element.querySelector(".hap-plot");
    this.touching = null; // set once it is drawn
    this.current = null; // the node that Tab reaches
  }

  async draw(figure, keepView) {
    const { plotly, nodes } = this.view;
    const layout = structuredClone(figure.layout);
    const first = !this.plot.on;
    if (keepView && this.view.panels[0].touching)
      [layout.xaxis.range, layout.yaxis.range] = pairs(this.view.panels[0].range());
    const targets = figure.data.at(-1);
    targets.text = targets.customdata.map((id) => nodes.get(id).hover);
    await plotly.react(this.plot, figure.data, layout, CONFIG);
    this.collect();
    if (first) this.listen();
    this.place();
    this.texts();
  }

  listen() {
    this.plot.on("plotly_hover", ({ points }) => this.point(points[0].customdata));
    this.plot.on("plotly_unhover", () => this.point(null));
    this.plot.on("plotly_click", ({ points }) => this.view.toggle(points[0].customdata));
    this.plot.on("plotly_relayouting", () => {
      this.frame ??= requestAnimationFrame(() => {
        this.frame = null;
        if (!this.still) this.view.follow(this, true);
      });
      this.still = false;
    });
    this.plot.on("plotly_relayout", () => {
      this.still = true;
      this.view.follow(this, false);
    });
    this.plot.on("plotly_afterplot", () => {
      this.place();
      this.light(this.view.shown());
      this.texts();
    });
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("focusin", (event) => this.enter(event.target.dataset.id));
    this.plot.addEventListener("focusout", () => this.view.hover(null));
  }

  /** The pointer is over a node of this panel (whose tooltip names it), or over none. */
  point(id) {
    this.pointed = id;
    this.view.hover(id);
  }

  /** Where each edge of this panel lies in Plotly's arrays, by the nodes at its ends. */
  collect() {
    this.touching = new Map();
    this.plot._fullData.forEach((trace) => {
      trace.meta?.edges?.forEach((edge, position) => {
        const [writer, readers] = this.view.scene.edges[edge];
        for (const id of [writer, ...readers]) {
          if (!this.touching.has(id)) this.touching.set(id, []);
          this.touching.get(id).push({ edge, trace, position, ends: [writer, ...readers] });
        }
      });
    });
  }

  axes() {
    const { xaxis, yaxis } = this.plot._fullLayout;
    return { xaxis, yaxis };
  }

  range() {
    const { xaxis, yaxis } = this.axes();
    return [...xaxis.range, ...yaxis.range];
  }

  /** Show another range at once, without drawing again: shift and stretch what is there. */
  slide([x0, x1, y0, y1]) {
    const { xaxis, yaxis } = this.axes();
    const sx = (xaxis.range[1] - xaxis.range[0]) / (x1 - x0), sy = (yaxis.range[1] - yaxis.range[0]) / (y1 - y0);
    const dx = (xaxis.range[0] - x0) / (x1 - x0) * xaxis._length, dy = (y1 - yaxis.range[1]) / (y1 - y0) * yaxis._length;
    this.transform(sx, sy, dx, dy);
    this.plot.classList.add("hap-sliding");
  }

  transform(sx, sy, dx, dy) {
    const { xaxis, yaxis } = this.axes();
    const area = this.plot.querySelector(AREA);
    const clip = document.getElementById(area.getAttribute("clip-path").match(/#([^"')]+)/)[1]).firstChild;
    area.setAttribute("transform", `translate(${xaxis._offset + dx},${yaxis._offset + dy}) scale(${sx},${sy})`);
    clip.setAttribute("transform", `translate(${-dx / sx},${-dy / sy}) scale(${1 / sx},${1 / sy})`);
  }

  move(range) {
    this.plot.classList.remove("hap-sliding");
    this.transform(1, 1, 0, 0);
    const now = this.range();
    if (range.every((value, i) => Math.abs(value - now[i]) < 1e-9)) return;
    const [x, y] = pairs(range);
    this.view.plotly.relayout(this.plot, { "xaxis.range": x, "yaxis.range": y });
  }

  resize() {
    if (this.plot.on && this.plot.offsetParent) this.view.plotly.Plots.resize(this.plot);
  }

  /** Our group inside Plotly's plot area: it moves with a drag and is clipped with the rest. */
  group(name) {
    const area = this.plot.querySelector(AREA);
    let group = area.querySelector(`.${name}`);
    if (!group) area.append((group = make("g", { class: name })));
    return group;
  }

  pixels({ box: [x, y, halfWidth, halfHeight] }) {
    const { xaxis, yaxis } = this.axes();
    const left = xaxis.c2p(x - halfWidth), right = xaxis.c2p(x + halfWidth);
    const top = yaxis.c2p(y + halfHeight), bottom = yaxis.c2p(y - halfHeight);
    return { x: left, y: top, width: right - left, height: bottom - top };
  }

  light(ids) {
    const group = this.group("hap-lit");
    const { nodes, scene, colours, pinned } = this.view;
    this.plot.classList.toggle("hap-dim", ids.length > 0);
    group.replaceChildren();
    const strokes = {}, lit = new Set(ids), seen = new Set();
    for (const id of ids) {
      for (const { edge, trace, position, ends } of this.touching.get(id) ?? []) {
        ends.forEach((end) => lit.add(end));
        if (!seen.has(edge)) (strokes[scene.statuses[edge]] ??= []).push(this.path(trace, position));
        seen.add(edge);
      }
    }
    for (const [status, paths] of Object.entries(strokes)) {
      const dash = status === "left" ? "5 3" : "none";
      group.append(make("path", { d: paths.join(""), stroke: colours[status], "stroke-dasharray": dash }));
    }
    for (const id of lit) this.glyph(group, nodes.get(id), this.caption(id, ids));
    for (const id of pinned) {
      if (nodes.get(id).hidden) continue;
      const box = grown(this.pixels(nodes.get(id)), 1);
      group.append(make("rect", { ...box, rx: 2, fill: "none", stroke: colours.text, "stroke-width": 3, class: "hap-pin" }));
    }
  }

  /** What to write above a lit node: its full name if it is the only one and has no tooltip here. */
  caption(id, ids) {
    if (!ids.includes(id) || id === this.pointed) return "";
    const node = this.view.nodes.get(id);
    if (ids.length === 1) return node.name;
    return node.ring || fits("labels", this.pixels(node)) ? "" : node.short;
  }

  glyph(group, node, caption) {
    if (node.hidden) return;
    const { colours, mode } = this.view;
    const box = this.pixels(node);
    const sides = mode === "overlay" ? ["both", "left", "right"] : ["both", this.plot.parentElement.dataset.side];
    const here = sides.includes(node.status);
    const paint = here
      ? { fill: colours[node.status] }
      : { fill: colours.background, stroke: colours.muted, "stroke-dasharray": "3 2" };
    group.append(make("rect", { ...box, rx: node.kind === "head" ? 0 : 0.3 * box.height, ...paint }));
    if (node.ring)
      for (const grow of [3.5, 8]) {
        const dash = here ? "none" : "2 3";
        group.append(make("rect", { ...grown(box, grow), rx: 6, fill: "none", stroke: colours.s_inhibition, "stroke-width": 2.2, "stroke-dasharray": dash }));
      }
    const middle = box.x + box.width / 2;
    if (fits("labels", box) && here)
      group.append(write(node.short, { x: middle, y: box.y + box.height / 2 + 4, fill: colours.background }));
    if (caption)
      group.append(write(caption, { x: middle, y: box.y - (node.ring ? 14 : 7), fill: colours.text, stroke: colours.background }));
  }

  path(trace, position) {
    const { xaxis, yaxis } = this.axes();
    const { points } = this.view.scene;
    const start = position * (points + 1);
    let d = "";
    for (let i = start; i < start + points; i++)
      d += `${i === start ? "M" : "L"}${xaxis.c2p(trace.x[i]).toFixed(1)},${yaxis.c2p(trace.y[i]).toFixed(1)}`;
    return d;
  }

  /** Texts that fit their boxes at this zoom. */
  texts() {
    const head = this.view.scene.nodes.find((node) => node.kind === "head" && !node.hidden);
    if (!head) return;
    const box = this.pixels(head);
    for (const name of Object.keys(READABLE)) {
      const index = this.plot._fullData.findIndex((trace) => trace.name === name);
      const visible = fits(name, box);
      if (index >= 0 && this.plot._fullData[index].visible !== visible)
        this.view.plotly.restyle(this.plot, { visible }, [index]);
    }
  }

  /** Invisible focusable twins of the kept nodes, for keyboards and screen readers. */
  place() {
    const group = this.group("hap-nodes");
    const kept = this.view.scene.nodes.filter((node) => node.status !== "none" && !node.hidden);
    if (!kept.some((node) => node.id === this.current)) this.current = kept[0]?.id;
    const old = new Map([...group.children].map((rect) => [rect.dataset.id, rect]));
    for (const node of kept) {
      const rect = old.get(node.id) ?? make("rect", { role: "button", "data-id": node.id, rx: 3 });
      old.delete(node.id);
      rect.setAttribute("aria-label", node.name);
      rect.setAttribute("tabindex", node.id === this.current ? 0 : -1);
      for (const [key, value] of Object.entries(this.pixels(node))) rect.setAttribute(key, value.toFixed(1));
      if (!rect.parentNode) group.append(rect);
    }
    for (const rect of old.values()) rect.remove();
  }

  enter(id) {
    if (!id) return;
    this.rect(this.current)?.setAttribute("tabindex", -1);
    this.current = id;
    this.rect(id).setAttribute("tabindex", 0);
    this.view.hover(id);
    this.view.status.textContent = this.view.nodes.get(id).text;
  }

  rect(id) {
    return this.plot.querySelector(`.hap-nodes rect[data-id="${id}"]`);
  }

  focus(id) {
    this.rect(id)?.focus();
  }

  key(event) {
    if (!event.target.dataset.id) return;
    if (event.key === "Enter" || event.key === " ") this.view.toggle(event.target.dataset.id);
    else if (ARROWS[event.key]) this.step(event.target.dataset.id, ...ARROWS[event.key]);
    else return;
    event.preventDefault();
  }

  /** Walk to the nearest kept node in a direction. */
  step(id, dx, dy) {
    const from = this.view.nodes.get(id).box;
    const away = ({ box }) => {
      const x = box[0] - from[0], y = box[1] - from[1];
      if (dx) return Math.abs(y) < 0.1 && x * dx > 0 ? x * dx : Infinity;
      return y * dy > 0.1 ? y * dy * 100 + Math.abs(x) : Infinity;
    };
    const kept = this.view.scene.nodes.filter((node) => this.rect(node.id));
    const [next] = kept.map((node) => [away(node), node.id]).filter(([far]) => far < Infinity).sort((a, b) => a[0] - b[0]);
    if (!next) return;
    this.reveal(next[1]);
    this.focus(next[1]);
  }

  /** Move the view so that a node is inside it. */
  reveal(id) {
    const [x, y] = this.view.nodes.get(id).box;
    const [x0, x1, y0, y1] = this.range();
    const inside = x > x0 && x < x1 && y > y0 && y < y1;
    if (!inside) this.move([x - (x1 - x0) / 2, x + (x1 - x0) / 2, y - (y1 - y0) / 2, y + (y1 - y0) / 2]);
  }
}
