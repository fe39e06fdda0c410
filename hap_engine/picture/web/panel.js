/* One panel: Plotly's picture of the nodes between two layers of our own (layer.js), the pointer and
   the keyboard. The range that is shown belongs to the view, which all panels share: Plotly tells it
   when the user pans or zooms, and every other panel follows. */

const AREA = ".overplot > .xy"; // Plotly's group for everything inside the axes
const CONFIG = { scrollZoom: true, displayModeBar: false, doubleClick: false, responsive: false };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const CLICK = { pixels: 5, milliseconds: 600 };
const FAINT = 0.35; // of an edge's opacity
const DENSE = 150; // edges of a panel from which dashes turn into noise
const OVERLAY_STEP = 2; // the width step of the overlay, where width means nothing

class Panel {
  constructor(view, element) {
    Object.assign(this, { view, element, side: element.dataset.side });
    this.plot = element.querySelector(".hap-plot");
    this.tip = element.querySelector(".hap-tip");
    this.layer = new Layer(this, element);
    this.folded = new Folded(this, element.querySelector(".hap-canvas"));
    this.sentence = null; // the picture over columns; the scene says of what
    this.frame = new Frame([0, 1, 0, 1], 1, 1);
    this.drawn = false; // by Plotly
    this.current = null; // the node that Tab reaches
    this.pointed = null; // the node under the pointer here
    this.listen();
  }

  /** Another scene, whose columns are tokens or spans. */
  read() {
    const kind = this.view.scene.spans ? Spans : Sentence;
    if (this.sentence?.constructor === kind) return;
    this.sentence?.svg.remove();
    this.sentence = new kind(this, this.element.querySelector(".hap-canvas"));
  }

  get overlay() { return this.view.mode === "overlay"; }
  get joint() { return ["overlay", "together", "matrix"].includes(this.view.mode); } // one panel for both circuits
  get other() { return this.side === "left" ? "right" : "left"; }

  /** The colour name of a node here, or null where it is a ghost. */
  status(i) {
    const { kept, status } = this.view.choice;
    if (this.overlay) return status[i] === "none" ? null : status[i];
    return kept[this.side][i] ? status[i] : null;
  }

  /** Whether only the other panel's circuit has a node. */
  elsewhere(i) {
    const { choice } = this.view;
    return !this.overlay && choice.step === null && !choice.member(this.side, i) && choice.member(this.other, i);
  }

  /** Whether this panel's circuit lacks a node (which may also be hidden because few edges are drawn). */
  lacks(i) {
    const { choice } = this.view;
    return this.overlay || choice.step !== null ? !this.status(i) : !choice.member(this.side, i);
  }

  quiet(i) { return this.view.choice.quiet(this.overlay ? "union" : this.side, i); }

  /** Dashes say what only the left circuit has, while they can be told apart. */
  dash(status) { return this.visible().length > DENSE ? "none" : DASH[status] ?? "none"; }

  spoken(node, i) {
    const { panels } = this.view.scene;
    const where = { both: "in both circuits", left: `only in ${panels.left.short}`, right: `only in ${panels.right.short}` };
    const marked = this.layer.marked.said(node.id);
    return `${node.name}, ${where[this.view.choice.status[i]] ?? "in neither circuit"}${marked && `, ${marked}`}`;
  }

  visible() {
    const { shown } = this.view.choice;
    return this.joint ? shown.union : shown[this.side];
  }

  /** The q, k and v inputs on which a visible edge lands. */
  readers() {
    const { edges, readers } = this.view.scene;
    return [...new Set(this.visible().map((i) => edges.reader[i]))].map((r) => readers[r]).filter(({ slot }) => slot);
  }

  /** Visible edges by status and width step, in drawing order: thin ones first. */
  buckets() {
    const { scene } = this.view;
    const total = scene.panels[this.side].edges, places = scene.edges[this.side];
    const found = new Map();
    const order = this.overlay ? [OVERLAY_STEP] : [3, 2, 1, 0];
    for (const step of order) for (const faint of [" faint", ""]) for (const status of ["both", "left", "right"]) found.set(`${status} ${step}${faint}`, []);
    for (const i of this.visible()) {
      const status = STATUS[scene.edges.status[i]];
      const step = this.overlay ? OVERLAY_STEP : STEPS.findIndex(([share]) => (places[i] || total) <= Math.max(1, share * total));
      found.get(`${status} ${step}${this.faint(i) ? " faint" : ""}`).push(i);
    }
    for (const [key, edges] of found) if (!edges.length) found.delete(key);
    return found;
  }

  /** Paths of the replay's candidates that neither circuit keeps in the end. */
  extra() {
    const { choice, replay } = this.view;
    return this.side === "right" && !this.overlay ? choice.extra.map((i) => replay.paths[i]) : [];
  }

  /** Whether fewer than half of the searches that were compared keep an edge of the run's own circuit. */
  faint(i) {
    const { judged, edges } = this.view.scene;
    return (judged === this.side || (judged && this.joint)) && (edges.seeds?.[i] ?? 1) < 0.5;
  }

  stroke(status, step, faint) {
    const [, width, opacity] = STEPS[step];
    return [width, (status === "both" ? opacity : Math.min(1, opacity + 0.15)) * (faint ? FAINT : 1)];
  }

  /** The frame in which the whole picture is seen at this size. */
  home() {
    return new Frame(this.view.scene.ranges, this.frame.width, this.frame.height);
  }

  /** Measure the plot area; false while the panel is not on the page. */
  measure() {
    const { clientWidth, clientHeight } = this.plot;
    const width = clientWidth - MARGIN.l - MARGIN.r, height = clientHeight - MARGIN.t - MARGIN.b;
    if (!this.plot.offsetParent || width < 10 || height < 10) return false;
    this.frame = new Frame(this.view.range, width, height);
    return true;
  }

  /** Edges, light and twins; the nodes too until Plotly has drawn them. */
  paint() {
    if (!this.measure()) return;
    this.layer.drawEdges();
    if (!this.drawn) this.layer.drawStill();
    this.layer.place(this.current);
    this.layer.move(this.frame);
    this.light();
  }

  /** While a hand moves: our own nodes in the place of Plotly's, which take it 50 ms. */
  sketch() {
    if (this.drawn && !this.layer.still.childElementCount) this.layer.drawStill();
    this.plot.classList.add("hap-sketched");
  }

  async draw() {
    if (!this.measure()) return;
    await this.working(this.view.plotly.react(this.plot, nodeTraces(this), plotLayout(this, this.view.range), CONFIG));
    if (this.view.gone || this.view.atSizes.held) return; // what it drew is old by now
    this.layer.still.replaceChildren();
    this.plot.classList.remove("hap-sketched");
    if (!this.drawn) this.follow();
    this.drawn = true;
  }

  /** Tell the view what the user does with Plotly's axes. */
  follow() {
    const range = () => {
      const { xaxis, yaxis } = this.plot._fullLayout;
      return [...xaxis.range, ...yaxis.range];
    };
    this.plot.on("plotly_relayouting", () => this.view.move(range(), this, false));
    this.plot.on("plotly_relayout", () => this.view.move(range(), this, true));
    this.plot.on("plotly_doubleclick", () => this.view.reset());
  }

  /** Show the view's range: at once, or for good (`settle`) by asking Plotly to draw again. */
  move(settle, source) {
    if (!this.measure()) return;
    this.layer.move(this.frame);
    this.light();
    if (!this.drawn || source === this) return this.drawn && settle && this.texts();
    if (!settle) return this.slide(this.view.range);
    this.plot.classList.remove("hap-sliding");
    this.transform(1, 1, 0, 0);
    const [x0, x1, y0, y1] = this.view.range;
    const { xaxis, yaxis } = this.plot._fullLayout;
    const now = [...xaxis.range, ...yaxis.range];
    if (this.view.range.some((value, i) => Math.abs(value - now[i]) > 1e-9))
      this.working(this.view.plotly.relayout(this.plot, { "xaxis.range": [x0, x1], "yaxis.range": [y0, y1] }));
    this.texts();
  }

  /** Shift and stretch Plotly's picture without drawing it again. */
  slide([x0, x1, y0, y1]) {
    const { xaxis, yaxis } = this.plot._fullLayout;
    const sx = (xaxis.range[1] - xaxis.range[0]) / (x1 - x0), sy = (yaxis.range[1] - yaxis.range[0]) / (y1 - y0);
    const dx = (xaxis.range[0] - x0) / (x1 - x0) * xaxis._length, dy = (y1 - yaxis.range[1]) / (y1 - y0) * yaxis._length;
    this.transform(sx, sy, dx, dy);
    this.plot.classList.add("hap-sliding");
  }

  transform(sx, sy, dx, dy) {
    const { xaxis, yaxis } = this.plot._fullLayout;
    const area = this.plot.querySelector(AREA);
    const clip = document.getElementById(area.getAttribute("clip-path").match(/#([^"')]+)/)[1]).firstChild;
    area.setAttribute("transform", `translate(${xaxis._offset + dx},${yaxis._offset + dy}) scale(${sx},${sy})`);
    clip.setAttribute("transform", `translate(${-dx / sx},${-dy / sy}) scale(${1 / sx},${1 / sy})`);
  }

  /** Texts that fit their boxes at this zoom. */
  texts() {
    const head = this.view.scene.nodes.find((node) => node.kind === "head" && !node.hidden);
    if (!head) return;
    const ports = this.plot._fullData.findIndex(({ name }) => name === "ports");
    const visible = fits("ports", this.frame.box(head.box)) || this.view.ports;
    if (ports >= 0 && this.plot._fullData[ports].visible !== visible) this.working(this.view.plotly.restyle(this.plot, { visible }, [ports]));
    this.plot.data.forEach(({ name, customdata, text }, trace) => {
      if (!name?.startsWith("labels")) return;
      const now = customdata.map((id) => escaped(written(this.view.node(id), this.frame.box(this.view.node(id).box))));
      if (`${now}` !== `${text}`) this.working(this.view.plotly.restyle(this.plot, { text: [now] }, [trace]));
    });
  }

  async resize() {
    if (this.measure() && this.drawn) await this.working(this.view.plotly.Plots.resize(this.plot));
  }

  /** Plotly must not lose its element while it draws. */
  working(drawing) {
    this.busy = Promise.allSettled([this.busy, drawing]);
    return drawing;
  }

  light() {
    const shown = this.view.shownLight();
    this.element.classList.toggle("hap-dim", shown.ids.length > 0 || shown.edges.length > 0);
    this.layer.light(shown);
  }

  // Pointer -----------------------------------------------------------------------------------

  listen() {
    const on = (target, type, action) => target.addEventListener(type, action, { signal: this.view.abort.signal });
    on(this.plot, "pointermove", (event) => {
      this.last = event;
      this.waiting ??= requestAnimationFrame(() => {
        this.waiting = null;
        this.point(this.under(this.last), this.last);
      });
    });
    on(this.plot, "pointerleave", () => {
      if (this.waiting) cancelAnimationFrame(this.waiting);
      this.waiting = null;
      this.point({});
    });
    on(this.plot, "pointerdown", (event) => { this.pressed = event; });
    on(window, "pointerup", (event) => {
      const start = this.pressed;
      this.pressed = null;
      if (!start || event.timeStamp - start.timeStamp > CLICK.milliseconds) return;
      if (Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > CLICK.pixels) return;
      const { node, edge } = this.under(start);
      if (node) this.view.toggle(node);
      else if (edge !== null) this.view.select(edge);
    });
    on(this.plot, "contextmenu", (event) => {
      const { node, edge } = this.under(event);
      if (!this.view.finding || (!node && edge === null)) return;
      event.preventDefault();
      this.view.cuts.flip(node ?? edge);
    });
    on(this.layer.over, "keydown", (event) => this.key(event));
    on(this.layer.over, "focusin", (event) => this.enter(event.target.dataset.id));
    on(this.layer.over, "focusout", () => this.view.hover({}));
  }

  /** The node or the edge at the pointer. */
  under(event) {
    if (!this.view.scene || !this.frame.width) return {};
    const area = this.plot.getBoundingClientRect();
    const px = event.clientX - area.left - MARGIN.l, py = event.clientY - area.top - MARGIN.t;
    const [x, y] = this.frame.at(px, py);
    const padX = 2 / this.frame.sx, padY = 2 / this.frame.sy;
    const node = this.view.scene.nodes.find(({ hidden, box: [cx, cy, a, b] }) =>
      !hidden && Math.abs(x - cx) <= a + padX && Math.abs(y - cy) <= b + padY);
    if (node) return { node: node.id, edge: null };
    return { node: null, edge: nearest(this.view.samples, this.visible(), this.frame, px, py) };
  }

  point({ node = null, edge = null }, event) {
    this.pointed = node;
    this.plot.classList.toggle("hap-points", node !== null || edge !== null);
    this.view.hover({ node, edge });
    this.showTip(node ? this.layer.marked.lines(node) : edge === null ? null : this.view.words.edge(edge), event);
  }

  /** The first line in bold, beside the pointer; null hides it. */
  showTip(lines, event) {
    this.tip.hidden = !lines;
    if (!lines) return;
    const [first, ...rest] = lines;
    this.tip.replaceChildren(html("b", {}, first), ...rest.map((line) => html("span", {}, line)));
    const area = this.element.getBoundingClientRect();
    const x = event.clientX - area.left, y = event.clientY - area.top;
    const { offsetWidth, offsetHeight } = this.tip;
    const flipX = x > area.width - offsetWidth - 24, flipY = y > area.height - offsetHeight - 24;
    this.tip.style.left = `${Math.max(4, flipX ? x - offsetWidth - 14 : x + 14)}px`;
    this.tip.style.top = `${Math.max(4, flipY ? y - offsetHeight - 14 : y + 14)}px`;
  }

  // Keyboard ----------------------------------------------------------------------------------

  enter(id) {
    if (!id) return;
    this.layer.twin(this.current)?.setAttribute("tabindex", -1);
    this.current = id;
    this.layer.twin(id).setAttribute("tabindex", 0);
    this.view.hover({ node: id });
    this.view.words.say(this.layer.marked.lines(id).join(" · "));
  }

  focus(id) {
    this.layer.twin(id)?.focus();
  }

  key(event) {
    const { id } = event.target.dataset;
    if (!id) return;
    if (event.key === "Enter" || event.key === " ") this.view.toggle(id);
    else if (ARROWS[event.key]) this.step(id, ...ARROWS[event.key]);
    else return;
    event.preventDefault();
  }

  /** Walk to the nearest kept node in a direction. */
  step(id, dx, dy) {
    const from = this.view.node(id).box;
    const away = ({ box }) => {
      const x = box[0] - from[0], y = box[1] - from[1];
      if (dx) return Math.abs(y) < 0.1 && x * dx > 0 ? x * dx : Infinity;
      return y * dy > 0.1 ? y * dy * 100 + Math.abs(x) : Infinity;
    };
    const kept = this.view.scene.nodes.filter((node) => this.layer.twin(node.id));
    const [next] = kept.map((node) => [away(node), node.id]).filter(([far]) => far < Infinity).sort((a, b) => a[0] - b[0]);
    if (!next) return;
    this.view.reveal(next[1]);
    this.focus(next[1]);
  }
}
