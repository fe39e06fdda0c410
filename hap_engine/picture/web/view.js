/* What the panels share: the scene, the range that is shown, what is lit, pinned and selected, the way
   it is drawn (side by side, overlaid, folded by role, as a matrix), and what Python hears of it. */

const MODES = ["sentence", "together", "roles", "pair", "overlay", "matrix"];
const WAYS = { sentence: "together", pair: "overlay" }; // side by side, and both in one
const remembered = new Map(); // component key -> pins, so that coming back to the page finds them

class View {
  constructor(parent) {
    this.root = parent.querySelector(".hap");
    this.abort = new AbortController();
    this.mode = "pair";
    this.pinned = [];
    this.edge = null; // the selected one
    this.hovered = {};
    this.found = []; // by the search
    this.ports = false;
    this.words = new Words(this);
    this.panels = bothPanels(this.root).map((element) => new Panel(this, element));
    this.matrix = new Matrix(this, this.root.querySelector(".hap-canvas"));
    this.threshold = new Threshold(this);
    this.replay = new Replay(this);
    this.atSizes = new Sizes(this);
    this.tables = new Tables(this);
    this.last = null; // clicked: a node's id, an edge's index, or nothing
    this.finding = null;
    this.lead = new Lead(this);
    this.cuts = new Cuts(this);
    this.drawer = new Drawer(this);
    this.story = new Story(this);
    this.own = new Own(this);
    const on = (target, type, action) => target.addEventListener(type, action, { signal: this.abort.signal });
    on(this.root, "click", ({ target }) => this.press(target.closest("button")));
    on(document, "keydown", (event) => this.key(event));
    on(document, "hap-marks", () => this.scene && this.heard());
    window.addEventListener("popstate", () => this.address && this.scene && this.back(), { signal: this.abort.signal, capture: true });
    this.sizes = new ResizeObserver(() => this.scene && this.resize());
    for (const { plot } of this.panels) this.sizes.observe(plot.parentElement);
  }

  press(button) {
    if (!button) return;
    const { mode, way, unpin, tab, status, pin, cut, targets, more, all, turn, part, words } = button.dataset;
    if (mode) this.show(mode, true);
    if (way) this.show(way === "apart" ? this.family : WAYS[this.family], true);
    if (unpin) this.toggle(unpin);
    if (pin) this.open(pin);
    if (cut) this.cuts.press(cut, targets.split(","));
    if (more) this.lead.turn(more);
    if (all) this.drawer.unfold(all);
    if (words) this.drawer.ask(words);
    if (part) this.own.part(part);
    if (turn) this.story.turn(Number(turn));
    if (tab) this.tables.open(tab);
    const panel = this.panels.find(({ element }) => element.contains(button));
    const actions = {
      clear: () => this.clear(),
      close: () => this.close(),
      fold: () => this.fold(button),
      reset: () => this.reset(),
      full: () => fullScreen(panel.element),
      present: () => (this.story.on ? this.story.close() : this.story.open()),
      save: () => this.save(panel),
      replay: () => this.replay.toggle(),
      play: () => this.replay.press(),
      measure: () => this.ask("measure", this.atSizes.size ?? 0),
      more: () => this.tables.draw(this.tables.count + 5 * ROWS),
      ports: () => {
        this.ports = !this.ports;
        button.setAttribute("aria-pressed", this.ports);
        this.redraw();
      },
      differs: () => {
        const { off } = this.choice;
        off.has("both") ? off.delete("both") : off.add("both");
        this.again();
      },
      lane: () => {
        this.choice.lane = !this.choice.lane;
        this.again();
      },
      paths: () => {
        this.choice.paths = this.choice.paths.length ? [] : this.pinned.map((id) => this.index.get(id));
        if (this.choice.paths.length) this.choice.lane = true; // ways lead through MLPs
        this.again();
      },
      only: () => {
        this.choice.only = this.choice.only ? null : new Set();
        this.confine();
        this.again();
      },
      animate: () => this.replay.animate(),
      status: () => {
        const { off } = this.choice;
        off.has(status) ? off.delete(status) : off.add(status);
        this.again();
      },
    };
    actions[button.dataset.do]?.();
  }

  /** The picture of what is pinned alone follows the pins. */
  confine() {
    const { choice, index, scene } = this;
    if (choice.only) choice.only = new Set([index.get("input"), scene.nodes.length - 1, ...this.pinned.map((id) => index.get(id))]);
  }

  /** Choose anew, and draw. */
  again() {
    this.choice.update();
    this.threshold.say();
    this.pressed();
    this.redraw();
  }

  /** What the buttons of the edges say. */
  pressed() {
    const { choice } = this, state = { differs: choice.off.has("both"), lane: choice.lane, paths: choice.paths.length > 0, only: choice.only !== null };
    for (const [name, on] of Object.entries(state)) this.root.querySelector(`[data-do="${name}"]`).setAttribute("aria-pressed", on);
    this.root.querySelector('[data-do="paths"]').disabled = !this.pinned.length && !choice.paths.length;
    this.root.querySelector('[data-do="only"]').hidden = !this.pinned.length && !choice.only;
  }

  update({ data: [data], setStateValue, setTriggerValue }) {
    this.send = this.staying(setStateValue);
    this.ask = this.staying(setTriggerValue);
    this.measurable = data.measurable;
    this.key_ = data.key;
    this.address = data.address; // names of pins and view in the address, where the page has one
    this.root.style.setProperty("--hap-height", data.height);
    const dark = isDark(this.root) ?? this.theme === "dark";
    const theme = dark ? "dark" : "light";
    const regrouped = data.notes !== this.notesText && this.own.receive(data.notes && JSON.parse(data.notes));
    this.notesText = data.notes;
    const fresh = data.scene !== this.text || regrouped, repaint = fresh || theme !== this.theme;
    this.theme = theme;
    if (fresh) this.read(data);
    this.colours = this.scene.colours[theme];
    this.url = data.plotly;
    if (data.finding !== this.findingText) {
      this.findingText = data.finding;
      this.finding = data.finding ? JSON.parse(data.finding) : null;
    }
    if (window.hapMarks) this.cuts.hear(window.hapMarks);
    if (fresh) this.show(this.mode);
    else if (repaint) this.redraw();
    this.offer(data);
    this.obey(data.command);
    this.replay.receive(data.replay, data.replayable);
    this.story.receive(data.present);
    if (!this.told) this.send("painted", (this.told = true)); // the rest of the page may follow
  }

  /** Reports wait while another page is on its way: they would bring this one back. They go with the picture. */
  staying(report) {
    const tell = (name, value) => {
      if (!window.hapLeaving?.()) report(name, value);
      else setTimeout(() => this.root.isConnected && tell(name, value), 100);
    };
    return tell;
  }

  /** Plotly comes when a picture needs it. */
  async library() {
    try {
      this.plotly = await loadPlotly(this.url);
    } catch (error) {
      return this.words.say(error.message);
    }
    if (this.root.isConnected) this.redraw();
  }

  read({ scene: text, start }) {
    const before = this.scene;
    this.text = text;
    this.scene = grouped(JSON.parse(text), this.own.groups);
    const { nodes, edges, readers, lift } = this.scene;
    this.index = new Map(nodes.map(({ id }, i) => [id, i]));
    this.paths = edges.writer.map((_, i) => curve(edges, i, lift));
    this.samples = sampled(edges, lift);
    this.touching = nodes.map(() => []);
    edges.writer.forEach((writer, i) => {
      this.touching[writer].push(i);
      for (const node of readers[edges.reader[i]].nodes) this.touching[node].push(i);
    });
    const named = nodes.find(({ mark, status }) => mark && status !== "none") ?? nodes.find(({ kind }) => kind === "head");
    if (named) this.words.search.placeholder = ["Find", [named.short, named.label].filter(Boolean).join(", ")].join(" ");
    this.pinned = this.pinned.filter((id) => this.index.has(id));
    this.hovered = {};
    this.edge = null;
    if (typeof this.last === "number" || !this.index.has(this.last)) this.last = null;
    if (`${before?.ranges}` !== `${this.scene.ranges}`) this.range = [...this.scene.ranges]; // the same graph keeps its view
    const limit = before ? this.choice.limit : start.drawn, size = before ? this.atSizes.size : start.size;
    if (!before) this.mode = start.view || "sentence";
    this.prompt = start.prompt ?? 0;
    this.root.toggleAttribute("data-spans", !!this.scene.spans);
    for (const panel of this.panels) panel.read();
    if (before) this.replay.forget();
    this.choice = new Choice(this.scene);
    this.threshold.set(Number.isFinite(limit) ? limit : 0);
    this.choice.update();
    this.matrix.read();
    this.atSizes.read(size);
    this.tables.draw();
  }

  /** Other groups: the same circuits with other boxes, and other pins. */
  regroup(pins) {
    const { sent } = this.replay;
    this.read({ scene: this.text, start: {} });
    if (sent) this.replay.receive(sent, true);
    this.show(this.mode);
    this.last = pins.at(-1);
    this.pin(pins);
  }

  /** Python draws it; the button says at once what was asked, so that a second click takes it back. */
  fold(button) {
    const fold = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", fold);
    this.ask("show", { fold });
  }

  /** What the page can show instead: another of the run's circuits in a panel, empty layers as thin lines. */
  offer({ circuits = [], folded }) {
    const fold = this.root.querySelector('[data-do="fold"]');
    fold.hidden = typeof folded !== "boolean";
    fold.setAttribute("aria-pressed", !!folded);
    for (const { element, side } of this.panels) {
      const choice = element.querySelector(".hap-circuit"), { name } = this.scene.panels[side];
      choice.hidden = circuits.length < 3;
      choice.replaceChildren(...circuits.map(([key, title]) => html("option", { value: key }, title)));
      choice.value = name;
      choice.onchange = () => this.ask("show", { [side]: choice.value });
    }
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
      this.last = this.pinned.at(-1) ?? this.last;
    }
    this.last ??= this.pinned.at(-1) ?? null;
    this.changed();
  }

  /** The browser's Back and Forward: the page hears of the same pins and view as the address has. */
  back() {
    const query = new URLSearchParams(location.search), pins = query.getAll(this.address.pins).filter((id) => this.index.has(id));
    if (`${pins}` !== `${this.pinned}`) {
      this.last = pins.at(-1) ?? null;
      this.pin(pins);
    }
    const view = query.get(this.address.view) ?? "sentence";
    if (view !== this.mode) this.show(view, true);
  }

  // Drawing -------------------------------------------------------------------------------------

  /** The tab: its side by side stands for it. */
  get family() { return Object.keys(WAYS).find((mode) => WAYS[mode] === this.mode) ?? this.mode; }

  get circuits() { return this.mode === "pair" || this.mode === "overlay"; }

  /** Panels that show a circuit edge by edge. */
  active() {
    if (!this.circuits) return [];
    return this.mode === "pair" ? this.panels : this.panels.slice(0, 1);
  }

  /** Our own layers, at once. */
  repaint() {
    for (const panel of this.active()) panel.paint();
    if (this.family === "sentence") for (const { sentence } of this.panels) sentence.draw();
    if (this.mode === "roles") for (const { folded } of this.panels) folded.draw();
    this.matrix.draw();
    this.words.legends();
    this.lead.draw();
    this.cuts.draw();
    if (!this.atSizes.held) this.atSizes.draw();
  }

  async draw() {
    await Promise.all(this.active().map((panel) => panel.draw()));
  }

  /** Plotly draws when it can; of several wishes the last one counts. */
  async redraw() {
    this.repaint();
    if (!this.plotly) return this.circuits && this.library();
    if (this.atSizes.held) return this.active().forEach((panel) => panel.sketch());
    this.stale = true;
    if (this.drawing) return;
    this.drawing = true;
    while (this.stale) {
      this.stale = false;
      await this.draw();
    }
    this.drawing = false;
  }

  /** Choose again and redraw, at most once per frame: for sliders. */
  soon() {
    this.frame_ ??= requestAnimationFrame(() => {
      this.frame_ = null;
      this.choice.update();
      this.redraw();
      this.tables.draw();
    });
  }

  show(mode, tell = false) {
    const known = MODES.includes(mode) ? mode : "sentence", placed = this.scene.sentence !== null;
    this.mode = placed || WAYS[known] !== "together" && known !== "together" ? known : known === "together" ? "overlay" : "pair";
    this.root.dataset.view = this.mode;
    this.root.dataset.family = this.family;
    this.root.querySelector(".hap-note").hidden = placed || this.mode === known;
    for (const button of this.root.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", button.dataset.mode === this.family);
      button.hidden = button.dataset.mode === "sentence" && !placed;
      if (button.dataset.mode === "sentence") this.named(button);
    }
    for (const button of this.root.querySelectorAll("[data-way]"))
      button.setAttribute("aria-pressed", (button.dataset.way === "apart") === (this.mode === this.family));
    if (tell) this.send("view", this.mode);
    this.redraw();
  }

  /** The first picture's button says what its columns are. */
  named(button) {
    const { spans } = this.scene;
    button.textContent = spans ? "At the spans" : "On the sentence";
    button.title = spans ? "Every head at the spans at which it is read" : "Every head at the token it acts from";
  }

  async resize() {
    for (const panel of this.active()) await panel.resize();
    await this.redraw(); // outlines are sized in pixels
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
    const [x, y] = this.node(id).box, [x0, x1, y0, y1] = this.range;
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
    const { node = null, edge = null } = this.hovered;
    if (edge !== null) return { ids: [], edges: [edge], pinned: this.pinned };
    const ids = node ? [node] : this.found.length ? this.found : this.pinned;
    if (!node && !this.found.length && this.choice.paths.length) return { ids, edges: this.choice.shown.union, pinned: this.pinned };
    const edges = new Set(ids.flatMap((id) => this.touching[this.index.get(id)]));
    if (!node && !this.found.length && this.edge !== null) edges.add(this.edge);
    return { ids, edges: [...edges], pinned: this.pinned };
  }

  light() {
    for (const panel of this.active()) panel.light();
    if (this.family === "sentence") for (const { sentence } of this.panels) sentence.light();
    this.matrix.draw();
  }

  /** What is switched off or restored, here or below. */
  get marks() { return this.cuts.marks; }

  /** The page below says what is switched off or restored, or what the model says to it. */
  heard() {
    if (window.hapMarks) this.cuts.hear(window.hapMarks);
    this.repaint();
    this.changed();
  }

  /** Pin a node, if it is not, and show what it is. */
  open(id) {
    this.last = id;
    if (this.pinned.includes(id)) this.changed();
    else this.pin([...this.pinned, id]);
    this.reveal(id);
  }

  close() {
    const { last } = this;
    this.last = null;
    if (typeof last === "number") this.select(last);
    else this.pin(this.pinned.filter((id) => id !== last));
  }

  toggle(id) {
    const there = this.pinned.includes(id);
    this.last = there ? this.pinned.filter((other) => other !== id).at(-1) ?? null : id;
    this.pin(this.pinned.includes(id) ? this.pinned.filter((other) => other !== id) : [...this.pinned, id]);
  }

  pin(ids) {
    this.pinned = ids.slice(-this.scene.maxPins);
    remembered.set(this.key_, { serial: remembered.get(this.key_).serial, pinned: this.pinned });
    this.send("pinned", this.pinned);
    for (const panel of this.active()) panel.layer.place(panel.current);
    if (this.family === "sentence") for (const { sentence } of this.panels) sentence.draw();
    this.changed();
  }

  select(edge) {
    this.edge = edge === this.edge ? null : edge;
    this.last = this.edge ?? this.pinned.at(-1) ?? null;
    const { edges, nodes, readers } = this.scene;
    this.send("edge", this.edge === null ? null : [nodes[edges.writer[edge]].id, readers[edges.reader[edge]].name]);
    this.changed();
  }

  /** Pins or the selected edge changed: show it everywhere. */
  changed() {
    const { choice } = this, opens = !choice.lane && this.pinned.some((id) => this.node(id)?.kind === "mlp");
    if (opens) choice.lane = true; // a pinned MLP is drawn
    if (choice.paths.length) choice.paths = this.pinned.map((id) => this.index.get(id));
    this.confine();
    if (opens || choice.paths.length || choice.only) this.again();
    this.pressed();
    this.light();
    this.words.describe();
    this.tables.mark();
    this.lead.mark();
    this.drawer.draw();
  }

  clear() {
    this.words.search.value = "";
    this.found = [];
    this.hovered = {};
    if (this.edge !== null) this.select(this.edge);
    this.last = null;
    this.pin([]);
  }

  key(event) {
    const { tagName, type, isContentEditable } = event.target;
    const typing = /^(textarea|select)$/i.test(tagName) || (/^input$/i.test(tagName) && !/^(range|radio|checkbox|button)$/.test(type)) || isContentEditable;
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.words.search.focus();
    } else if (event.key === "Escape" && (!typing || event.target === this.words.search) && !document.fullscreenElement) {
      if (this.pinned.length || this.edge !== null || this.found.length) this.clear();
      else this.hover({});
    } else if (event.key === "Delete" && !typing && this.finding && this.last !== null) {
      event.preventDefault();
      this.cuts.flip(this.last);
    }
  }

  /** Save a panel as SVG, edges included. */
  save(panel) {
    if (this.family === "sentence") return download(panel.sentence.saved(), "image/svg+xml", "circuit.svg");
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
    this.replay.stop();
    this.sizes.disconnect();
    this.gone = true;
    for (const { busy, plot } of this.panels) busy?.then(() => this.plotly.purge(plot));
  }
}
