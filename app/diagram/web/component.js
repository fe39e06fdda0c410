/* Both panels of the comparison: what they share, what links them, and what Python hears.

   The first frame needs no library: the panels draw themselves as soon as the scene arrives and answer
   the pointer; Plotly takes over the nodes, the axes and the zoom when it has loaded. Nothing is ever
   remounted, so a click cannot move the view, and only pins and the selected edge go to Python. */

const views = new WeakMap(); // element -> its view
const remembered = new Map(); // component key -> pins, so that coming back to the page finds them

export default function (component) {
  const { parentElement } = component;
  if (!views.has(parentElement)) views.set(parentElement, new View(parentElement));
  const view = views.get(parentElement);
  view.update(component);
  return () => {
    view.destroy();
    views.delete(parentElement);
  };
}

function loadPlotly(url) {
  window.hapPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      window.hapPlotly = undefined;
      script.remove();
      reject(new Error("The drawing library did not arrive. Reload the page."));
    };
    document.head.append(script);
  });
  return window.hapPlotly;
}

class View {
  constructor(parent) {
    this.root = parent.querySelector(".hap");
    this.status_ = this.root.querySelector(".hap-status");
    this.search = this.root.querySelector("input[type=search]");
    this.abort = new AbortController();
    this.mode = "pair";
    this.pinned = [];
    this.edge = null; // the selected one
    this.hovered = {};
    this.found = [];
    this.off = new Set(); // statuses that are switched off
    this.ports = false;
    this.panels = [...this.root.querySelectorAll(".hap-panel")].map((element) => new Panel(this, element));
    this.listen();
  }

  listen() {
    const on = (target, type, action) => target.addEventListener(type, action, { signal: this.abort.signal });
    on(this.root, "click", ({ target }) => {
      const button = target.closest("button");
      if (!button) return;
      const { mode, unpin } = button.dataset;
      if (mode) this.show(mode);
      if (unpin) this.toggle(unpin);
      this.press(button.dataset.do, button);
    });
    on(document, "keydown", (event) => this.key(event));
    on(this.search, "input", () => this.find());
    on(this.search, "keydown", (event) => {
      if (event.key === "Enter") this.pinFound();
    });
    this.sizes = new ResizeObserver(() => this.scene && this.panels.forEach((panel) => panel.resize()));
    this.panels.forEach((panel) => this.sizes.observe(panel.plot));
  }

  press(action, button) {
    if (action === "clear") this.clear();
    if (action === "reset") this.reset();
    if (action === "full") fullScreen(button.closest(".hap-panel"));
    if (action === "save") this.save(this.panels.find(({ element }) => element.contains(button)));
    if (action === "ports") {
      this.ports = !this.ports;
      button.setAttribute("aria-pressed", this.ports);
      this.redraw();
    }
    if (action === "status") {
      const { status } = button.dataset;
      this.off.has(status) ? this.off.delete(status) : this.off.add(status);
      this.choose();
      this.redraw();
    }
  }

  async update({ data: [data], setStateValue }) {
    this.send = setStateValue;
    this.key_ = data.key;
    this.root.style.setProperty("--hap-height", `${data.height}px`);
    const theme = isDark(this.root) ? "dark" : "light";
    const fresh = data.scene !== this.text, repaint = fresh || theme !== this.theme;
    this.theme = theme;
    if (fresh) this.read(data.scene);
    this.colours = this.scene.colours[theme];
    this.obey(data.command);
    if (repaint) this.repaint();
    if (!this.told) setStateValue("painted", (this.told = true)); // the rest of the page may follow
    if (await this.library(data.plotly) && (repaint || !this.panels.some(({ drawn }) => drawn))) await this.draw();
  }

  /** Whether Plotly is here and the page still is. */
  async library(url) {
    try {
      this.plotly = await loadPlotly(url);
    } catch (error) {
      this.say(error.message);
      return false;
    }
    return this.root.isConnected;
  }

  read(text) {
    const before = this.scene;
    this.text = text;
    this.scene = JSON.parse(text);
    const { nodes, edges, lift } = this.scene;
    this.index = new Map(nodes.map(({ id }, i) => [id, i]));
    this.paths = edges.writer.map((_, i) => curve(edges, i, lift));
    this.samples = sampled(edges, lift);
    this.touching = nodes.map(() => []);
    edges.writer.forEach((writer, i) => {
      this.touching[writer].push(i);
      for (const node of this.scene.readers[edges.reader[i]].nodes) this.touching[node].push(i);
    });
    this.pinned = this.pinned.filter((id) => this.index.has(id));
    this.hovered = {};
    this.edge = null;
    if (`${before?.ranges}` !== `${this.scene.ranges}`) this.range = [...this.scene.ranges]; // the same graph keeps its view
    this.choose();
  }

  /** Which edges each panel shows, and which nodes they keep. */
  choose() {
    const { nodes, edges, readers, panels } = this.scene;
    const all = edges.writer.map((_, i) => i).filter((i) => !this.off.has(STATUS[edges.status[i]]));
    const within = (side) => (i) => edges[side][i] && edges[side][i] <= panels[side].shown;
    const left = all.filter(within("left")), right = all.filter(within("right"));
    this.shown = { left, right, union: all.filter((i) => within("left")(i) || within("right")(i)) };
    const kept = (indices) => {
      const into = new Uint8Array(nodes.length), out = new Uint8Array(nodes.length);
      for (const i of indices) {
        out[edges.writer[i]] = 1;
        for (const node of readers[edges.reader[i]].nodes) into[node] = 1;
      }
      return nodes.map(({ id }, i) => (into[i] || id === "input") && (out[i] || id === "logits") ? 1 : 0);
    };
    this.kept = { left: kept(left), right: kept(right) };
    this.status = nodes.map((_, i) => STATUS[[3, 2, 1, 0][2 * this.kept.left[i] + this.kept.right[i]]]);
  }

  /** Pins that Python asks for; a command is obeyed once, also after a remount. */
  obey({ serial, pinned }) {
    const last = remembered.get(this.key_);
    if (last?.serial === serial) {
      this.pinned = last.pinned.filter((id) => this.index.has(id));
    } else {
      this.pinned = pinned;
      remembered.set(this.key_, { serial, pinned });
      if (serial) this.send("pinned", pinned);
    }
    this.light();
    this.describe();
  }

  active() {
    return this.mode === "pair" ? this.panels : this.panels.slice(0, 1);
  }

  /** Our own layers, at once. */
  repaint() {
    for (const panel of this.active()) panel.paint();
    this.legends();
  }

  async draw() {
    await Promise.all(this.active().map((panel) => panel.draw()));
    this.describe();
  }

  redraw() {
    this.repaint();
    if (this.plotly) this.draw();
  }

  show(mode) {
    this.mode = mode;
    this.root.dataset.view = mode;
    for (const button of this.root.querySelectorAll("[data-mode]"))
      button.setAttribute("aria-pressed", button.dataset.mode === mode);
    this.redraw();
  }

  move(range, source, settle) {
    this.range = range;
    for (const panel of this.active()) panel.move(settle, source);
  }

  reset() {
    this.move([...this.scene.ranges], null, true);
  }

  /** Move the view so that a node is inside it. */
  reveal(id) {
    const [x, y] = this.node(id).box;
    const [x0, x1, y0, y1] = this.range;
    if (x > x0 && x < x1 && y > y0 && y < y1) return;
    const w = (x1 - x0) / 2, h = (y1 - y0) / 2;
    this.move([x - w, x + w, y - h, y + h], null, true);
  }

  node(id) {
    return this.scene.nodes[this.index.get(id)];
  }

  // What is lit ---------------------------------------------------------------------------------

  hover({ node = null, edge = null }) {
    if (node === (this.hovered.node ?? null) && edge === (this.hovered.edge ?? null)) return;
    this.hovered = { node, edge };
    this.light();
  }

  /** Nodes and edges to light: what is hovered first, then what a search finds, then what is pinned. */
  shownLight() {
    const { node, edge } = this.hovered;
    if (edge !== null && edge !== undefined) return { ids: [], edges: [edge], pinned: this.pinned };
    const ids = node ? [node] : this.found.length ? this.found : this.pinned;
    const edges = new Set(ids.flatMap((id) => this.touching[this.index.get(id)]));
    if (!node && !this.found.length && this.edge !== null) edges.add(this.edge);
    return { ids, edges: [...edges], pinned: this.pinned };
  }

  light() {
    for (const panel of this.active()) panel.light();
  }

  toggle(id) {
    this.pin(this.pinned.includes(id) ? this.pinned.filter((other) => other !== id) : [...this.pinned, id]);
  }

  pin(ids) {
    this.pinned = ids.slice(-this.scene.maxPins);
    remembered.set(this.key_, { serial: remembered.get(this.key_).serial, pinned: this.pinned });
    this.send("pinned", this.pinned);
    for (const panel of this.active()) panel.layer.place(panel.current);
    this.light();
    this.describe();
  }

  select(edge) {
    this.edge = edge === this.edge ? null : edge;
    const { edges, nodes, readers } = this.scene;
    this.send("edge", this.edge === null ? null : [nodes[edges.writer[edge]].id, readers[edges.reader[edge]].name]);
    this.light();
    this.describe();
  }

  clear() {
    this.search.value = "";
    this.found = [];
    this.hovered = {};
    if (this.edge !== null) this.select(this.edge);
    this.pin([]);
  }

  // Words ---------------------------------------------------------------------------------------

  say(text) {
    this.status_.textContent = text;
  }

  edgeLines(i) {
    const { edges, readers, nodes, panels } = this.scene;
    const status = STATUS[edges.status[i]];
    const where = status === "both" ? "in both circuits" : `${panels[status].short} only`;
    const known = [
      edges.score[i] !== null && `EAP score ${edges.score[i]}`,
      edges.rank[i] !== null && `EAP rank ${edges.rank[i].toLocaleString("en")}`,
      edges.gate[i] !== null && `gate (log α) ${edges.gate[i]}`,
    ].filter(Boolean);
    return [`${nodes[edges.writer[i]].id} → ${readers[edges.reader[i]].name}`, where, ...known];
  }

  describe() {
    const chips = this.pinned.map((id) =>
      html("button", { type: "button", "data-unpin": id, "aria-label": `Unpin ${this.node(id).name}` }, `${id} ×`));
    this.root.querySelector(".hap-pins").replaceChildren(...chips);
    const names = this.pinned.map((id) => this.node(id).name);
    if (this.edge !== null) names.push(`edge ${this.edgeLines(this.edge).join(", ")}`);
    this.say(names.length
      ? `Pinned: ${names.join("; ")}. Click again to unpin, Esc to clear.`
      : "Hover to trace a node or an edge, click to pin it, scroll to zoom, drag to move. Arrow keys walk, Enter pins, / finds.");
  }

  /** Title and legend of each panel; a legend entry switches its edges on and off. */
  legends() {
    const { panels } = this.scene, overlay = this.mode === "overlay";
    for (const panel of this.active()) {
      const { label, measure, edges, short } = panels[panel.side], other = panels[panel.other].short;
      const shown = panel.visible().length;
      panel.element.querySelector(".hap-title").textContent = overlay
        ? `${panels.left.short} and ${panels.right.short}, overlaid`
        : `${label} · ${edges.toLocaleString("en")} edges${shown < edges ? `, ${shown.toLocaleString("en")} shown` : ""}`;
      const names = overlay
        ? { both: "both", left: `only ${panels.left.short}`, right: `only ${panels.right.short}` }
        : { both: "in both", [panel.side]: `${short}, not ${other}` };
      const count = (status) => panel.visible().filter((i) => STATUS[this.scene.edges.status[i]] === status).length;
      const entries = Object.entries(names).map(([status, name]) =>
        html("button", {
          type: "button", "data-do": "status", "data-status": status, "aria-pressed": !this.off.has(status), title: "Show or hide these edges",
        }, html("i", { class: `hap-key hap-${status}` }), `${name} · ${count(status).toLocaleString("en")}`));
      if (this.scene.nodes.some(({ ring }) => ring)) entries.push(html("span", {}, html("i", { class: "hap-key hap-ring" }), "S-inhibition head"));
      const width = overlay ? "Line width has no meaning here" : `Line width: ${measure}`;
      panel.element.querySelector(".hap-legend").replaceChildren(...entries, html("span", { class: "hap-measure" }, width));
    }
    for (const [name, colour] of Object.entries(this.colours)) this.root.style.setProperty(`--hap-${name}`, colour);
  }

  // Search and keys -----------------------------------------------------------------------------

  find() {
    const query = this.search.value.trim().toLowerCase();
    const nodes = this.scene.nodes.filter((node) => !node.hidden);
    const exact = nodes.filter((node) => ` ${node.search} `.includes(` ${query} `));
    const matches = exact.length ? exact : nodes.filter((node) => node.search.includes(query));
    this.found = query ? matches.map((node) => node.id) : [];
    this.light();
    if (!query) return this.describe();
    const some = matches.slice(0, 6).map((node) => node.name).join("; ");
    this.say(matches.length ? `${matches.length} found: ${some}. Enter pins.` : `No node matches “${query}”.`);
  }

  pinFound() {
    const found = this.found.slice(0, this.scene.maxPins);
    if (!found.length) return;
    this.found = [];
    this.search.value = "";
    this.pin([...this.pinned.filter((id) => !found.includes(id)), ...found]);
    this.reveal(found[0]);
    if (found.length === 1) this.panels[0].focus(found[0]);
    else this.search.blur();
  }

  key(event) {
    const typing = /^(input|textarea|select)$/i.test(event.target.tagName) || event.target.isContentEditable;
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.search.focus();
    } else if (event.key === "Escape" && (!typing || event.target === this.search) && !document.fullscreenElement) {
      if (this.pinned.length || this.edge !== null || this.found.length) this.clear();
      else this.hover({});
    }
  }

  /** Save a panel as SVG, edges included. */
  save(panel) {
    const layout = plotLayout(panel, this.range);
    const title = panel.element.querySelector(".hap-title").textContent;
    Object.assign(layout, { title: { text: escaped(title), font: { size: 15 } }, paper_bgcolor: this.colours.background });
    layout.margin = { ...MARGIN, t: 44 };
    const [first, ...rest] = nodeTraces(panel);
    const { clientWidth: width, clientHeight: height } = panel.plot;
    this.plotly.downloadImage({ data: [first, ...edgeTraces(panel), ...rest], layout }, { format: "svg", filename: "circuit", width, height });
  }

  destroy() {
    this.abort.abort();
    this.sizes.disconnect();
    for (const panel of this.panels) if (panel.drawn) this.plotly.purge(panel.plot);
  }
}

function isDark(element) {
  const [red, green, blue] = getComputedStyle(element).backgroundColor.match(/[\d.]+/g).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}

function fullScreen(element) {
  if (document.fullscreenElement) document.exitFullscreen();
  else element.requestFullscreen();
}
