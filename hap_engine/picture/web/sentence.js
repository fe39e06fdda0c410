/* The circuit on the sentence (token_places.py): a column per token, a box per head at the token it acts
   from, a thick arrow from what it attends to, thin lines for the circuit's edges among these heads.

   Rows are the order of layers: whatever writes stands below what reads it. An edge into a query runs up
   the right of its column, one into a key or value up the left, to the foot of the reader's arrow; what
   comes from the input is the stem of the column. A column is as wide as its boxes or its token; where a
   sentence is too long, tokens stand upright, then those that no head uses are gathered.

   `Spans` (spans.js) is the same picture with a column per span. A box is a head with the column `query` that it acts
   from; `at` names it, and `looks` are the columns that it attends to, each with a `key` and a `weight`. */

const LANES = [16, 16, 8, 6]; // beside the boxes of a column, for lines: the fewer, the longer the sentence
const TALL = 18; // a box
const STRIKE = 2; // the line through it
const RISE = { least: 21, most: 32 }; // from row to row, in pixels
const SENTENCE = { top: 30, left: 8, right: 16, token: 16, role: 14, upright: 15, gathered: 11, fixed: 320, least: 330, most: 640 };

class Sentence {
  constructor(panel, canvas) {
    this.panel = panel;
    this.svg = canvas.appendChild(make("svg", { class: "hap-sentence", role: "group" }));
    this.pencil = document.createElement("canvas").getContext("2d");
    const on = (type, action) => this.svg.addEventListener(type, action, { signal: panel.view.abort.signal });
    const at = ({ target }) => target.closest?.("[data-id], [data-edge]")?.dataset ?? {};
    this.current = null; // the box that Tab reaches
    on("pointermove", (event) => this.point(at(event), event));
    on("pointerleave", () => this.point({}));
    on("focusin", (event) => this.enter(at(event)));
    on("focusout", () => this.point({}));
    on("click", (event) => this.press(at(event)));
    on("contextmenu", (event) => {
      const { id } = at(event);
      if (!id || !this.view.finding) return;
      event.preventDefault();
      this.view.cuts.flip(id);
    });
    on("keydown", (event) => {
      if (ARROWS[event.key]) this.step(at(event).at, ...ARROWS[event.key]);
      else if (event.key === "Enter" || event.key === " ") this.press(at(event));
      else return;
      event.preventDefault();
    });
  }

  get view() { return this.panel.view; }
  /** The last column, over which the logits stand. */
  get end() { return this.prompt.tokens.length - 1; }
  get prompt() { const { prompts } = this.view.scene.sentence; return prompts[this.view.prompt % prompts.length]; }

  /** The heads that are drawn, each with its row: those with a role (or the strongest), and what is pinned. */
  heads() {
    const { scene: { nodes, sentence }, pinned, index } = this.view;
    const wanted = new Set([...sentence.first, ...pinned.map((id) => index.get(id))]);
    const { only } = this.view.choice;
    const found = this.prompt.looks.filter(([i]) => wanted.has(i) && (!only || only.has(i)))
      .map(([i, query, key, weight]) => ({ i, at: nodes[i].id, query, key, looks: [{ key, weight }], node: nodes[i] }))
      .sort((a, b) => a.node.layer - b.node.layer || a.query - b.query || a.i - b.i);
    let floor = 0;
    for (const layer of new Set(found.map(({ node }) => node.layer))) {
      const rows = []; // of this layer: heads side by side where their arrows do not meet
      for (const head of found.filter(({ node }) => node.layer === layer)) {
        let row = rows.findIndex((others) => others.every(({ query, key }) => head.query < key || head.key > query));
        if (row < 0) row = rows.push([]) - 1;
        rows[row].push(head);
        head.row = floor + row;
      }
      floor += rows.length;
    }
    return [found, floor];
  }

  /** Columns of the sentence, from left to right: which tokens, what is written below, and where. */
  columns(heads, room) {
    const { tokens, roles } = this.prompt, n = tokens.length;
    const boxes = new Set(heads.map(({ query }) => query)), looked = new Set(heads.map(({ key }) => key));
    const named = tokens.map((_, i) => roles.filter(([, at]) => at === i).map(([role]) => role).join(" · "));
    const shown = tokens.map((token) => token.trim() || "␣");
    const least = (i, text) => Math.max(text, this.width(named[i]) + 6, boxes.has(i) ? this.wide + 2 * this.lane : 0);
    const sum = (widths) => widths.reduce((a, b) => a + b, 0);
    let step = -1, widths;
    do {
      this.lane = LANES[++step];
      widths = tokens.map((_, i) => least(i, step ? SENTENCE.upright : this.width(shown[i]) + 9));
    } while (step < LANES.length - 1 && sum(widths) > room);
    const fits = step === 0, gather = step === LANES.length - 1;
    const keep = (i) => boxes.has(i) || looked.has(i) || named[i];
    const columns = [];
    for (let i = 0; i < n; i++) {
      const last = columns.at(-1);
      if (gather && !keep(i) && last && !keep(last.first)) last.last = i;
      else columns.push({ first: i, last: i, width: gather && !keep(i) ? SENTENCE.gathered : widths[i], role: named[i] });
    }
    for (const column of columns) {
      const { first, last } = column;
      column.text = gather && !keep(first) ? "…" : shown[first];
      column.met = boxes.has(first) || looked.has(first);
      column.title = shown.slice(first, last + 1).join(" ");
      column.upright = !fits && column.text !== "…" && !boxes.has(first);
    }
    const spare = Math.max(0, room - sum(columns.map(({ width }) => width))) / columns.length;
    let x = SENTENCE.left;
    for (const column of columns) {
      column.x = x + (column.width + spare) / 2;
      x += column.width + spare;
    }
    return columns;
  }

  width(text) {
    this.pencil.font = `600 12px ${FONT}`;
    return this.pencil.measureText(text).width;
  }

  /** Whether this panel's circuit keeps a head; its colour. */
  status({ i }) {
    const { choice, scene } = this.view;
    if (choice.step !== null) return this.panel.status(i);
    if (this.panel.joint) return scene.nodes[i].status === "none" ? null : scene.nodes[i].status;
    return choice.member(this.panel.side, i) ? scene.nodes[i].status : null;
  }

  draw() {
    const canvas = this.svg.parentElement, { view, panel } = this, { colours, scene } = view;
    if (!canvas.clientWidth || !scene.sentence) return;
    const [heads, rows] = this.heads();
    this.wide = Math.max(38, ...heads.map(({ node }) => this.width(labelled(node)))) + 10;
    const room = canvas.clientWidth - SENTENCE.left - SENTENCE.right;
    const columns = this.columns(heads, room);
    this.x = new Map(columns.flatMap(({ first, last, x }) => Array.from({ length: last - first + 1 }, (_, k) => [first + k, x])));
    const foot = this.footing(columns);
    const full = document.fullscreenElement === panel.element || view.story.on;
    const target = full ? canvas.clientHeight : Math.min(SENTENCE.most, Math.max(SENTENCE.least, innerHeight - SENTENCE.fixed));
    const rise = Math.max(RISE.least, Math.min(full ? 60 : RISE.most, (target - foot - SENTENCE.top) / Math.max(rows, 3)));
    const width = Math.max(canvas.clientWidth, columns.at(-1).x + columns.at(-1).width / 2 + SENTENCE.right);
    this.base = SENTENCE.top + rise * rows + 10;
    const height = (this.foot = this.base + foot);
    const tall = full ? Math.min(height, canvas.clientHeight) : height; // it fits the screen
    Object.entries({ width, height: tall, viewBox: `0 0 ${width} ${height}` }).forEach(([key, value]) => this.svg.setAttribute(key, value));
    for (const head of heads) Object.assign(head, { x: this.x.get(head.query), y: SENTENCE.top + rise * (rows - head.row - 0.5), status: this.status(head) });
    this.drawn = heads;
    if (!heads.some(({ at }) => at === this.current)) this.current = heads[0]?.at ?? null;
    this.svg.setAttribute("aria-label", `${scene.panels[panel.side].label} ${this.where}: ${this.prompt.tokens.join("")}`);
    const focused = this.svg.contains(document.activeElement) && document.activeElement.dataset.at;
    this.svg.replaceChildren(this.markers(), ...this.lanes(columns, heads), ...this.stems(heads), ...heads.flatMap((head) => head.looks.map((look) => this.arrow(head, look))),
      ...this.lines(heads), this.logits(), ...columns.map((column) => this.token(column)), ...heads.map((head) => this.box(head)));
    this.light();
    if (focused) this.focus(focused);
  }

  get where() { return "on the sentence"; }

  /** The height of what stands below the columns. */
  footing(columns) {
    const upright = Math.max(0, ...columns.filter((column) => column.upright).map(({ text }) => this.width(text)));
    return Math.max(SENTENCE.token, upright + 6) + SENTENCE.role + 6;
  }

  markers() {
    const { colours } = this.view, defs = make("defs");
    for (const name of ["s_inhibition", "mover", "repeat", "other", "muted"]) {
      const marker = make("marker", { id: `hap-look-${this.panel.side}-${name}`, viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 11, markerHeight: 11, orient: "auto", markerUnits: "userSpaceOnUse" });
      marker.append(make("path", { d: "M0,0L8,4L0,8Z", fill: colours[name] }));
      defs.append(marker);
    }
    return defs;
  }

  /** The line of every token, and a bracket around the heads that act from it. */
  lanes(columns, heads) {
    const { colours } = this.view;
    return columns.flatMap(({ first, last, x }) => {
      const here = heads.filter(({ query }) => query >= first && query <= last), ys = here.map(({ y }) => y);
      const line = make("path", { d: `M${x},${this.base}V${SENTENCE.top}`, stroke: colours.muted, "stroke-opacity": 0.22, "stroke-dasharray": "1 4" });
      if (here.length < 2) return [line];
      const [left, right] = [-1, 1].map((side) => x + side * (this.wide / 2 + 4));
      const [low, high] = [Math.max(...ys) + TALL / 2 + 4, Math.min(...ys) - TALL / 2 - 4];
      return [line,
        make("rect", { x: left, y: high, width: right - left, height: low - high, rx: 5, fill: colours.surface }),
        make("path", { class: "hap-bracket", d: `M${left},${low - 5}V${low}H${right}V${low - 5}M${x},${low}V${this.base}`, fill: "none", stroke: colours.muted })];
    });
  }

  /** Where the embedded token itself is read: up the middle of the column. */
  stems(heads) {
    const tops = new Map();
    for (const { i, head, at, y } of this.edges(heads)) {
      if (!head || this.view.scene.nodes[this.view.scene.edges.writer[i]].kind !== "input") continue;
      const key = `${at} ${this.edgeStatus(i)}`;
      tops.set(key, Math.min(tops.get(key) ?? Infinity, y));
    }
    return [...tops].map(([key, y]) => {
      const [at, status] = key.split(" ");
      return make("path", { d: `M${this.x.get(+at)},${this.base}V${y}`, fill: "none", stroke: this.view.colours[status], "stroke-width": 1.2, "stroke-opacity": 0.55, "stroke-dasharray": DASH[status] ?? "none", class: "hap-stem" });
    });
  }

  edgeStatus(i) { return STATUS[this.view.scene.edges.status[i]]; }

  /** The shown circuit's edges among `heads` that act at one of their tokens: `at` which, and how high they end. */
  edges(heads) {
    const { scene: { edges, readers, nodes }, choice } = this.view, at = new Map(heads.map((head) => [head.i, head]));
    const found = [], top = SENTENCE.top - 16;
    for (const i of choice.whole(this.panel.joint ? "union" : this.panel.side)) {
      const writer = edges.writer[i], from = at.get(writer), { slot, nodes: fed } = readers[edges.reader[i]];
      if (!from && nodes[writer].kind !== "input") continue;
      for (const target of fed) {
        const head = at.get(target), place = head && (slot === "q" ? head.query : head.key);
        if (head ? head.status && (!from || (from.status && from.query === place)) : from?.status && nodes[target].kind === "logits" && from.query === this.end)
          found.push({ i, from, head, slot, at: head ? place : this.end, y: head ? head.y : top, x: from?.x });
      }
    }
    return found;
  }

  lines(heads) {
    const { colours } = this.view, half = this.wide / 2;
    return this.edges(heads).filter(({ from }) => from).map(({ i, from, head, slot, x, y: to }) => {
      const status = this.edgeStatus(i), side = slot === "k" || slot === "v" ? -1 : 1;
      const bulge = side * Math.min(this.lane + 4, 6 + 0.05 * Math.abs(from.y - to)), edge = from.x + side * half;
      const end = side < 0 ? x : edge;
      const line = { d: `M${edge},${from.y}C${edge + 1.33 * bulge},${from.y} ${edge + 1.33 * bulge},${to} ${end},${to}`, fill: "none" };
      const group = make("g", { class: "hap-thread", "data-edge": i, "data-of": `${from.i} ${head?.i ?? ""}` });
      group.append(make("path", { ...line, stroke: "transparent", "stroke-width": 8 }),
        make("path", { ...line, stroke: colours[status], "stroke-width": 1.5, "stroke-dasharray": [from, head].some((end) => end && this.cut(end.node.id)) ? "1 5" : DASH[status] ?? "none" }));
      return group;
    });
  }

  /** Whether a live intervention switched a head of this panel off. */
  cut(id) { return this.panel.layer.marked.marks?.nodes[id] === false; }

  arrow({ i, node, x, y, status }, { key, weight }) {
    const { colours } = this.view, colour = node.colour ?? "other", kept = status !== null && !this.cut(node.id), from = this.x.get(key);
    return make("path", {
      class: "hap-look", d: `M${from},${y}H${x - Math.sign(x - from) * (this.wide / 2 + (kept ? 6 : 2))}`, "data-of": i, fill: "none",
      stroke: colours[kept ? colour : "muted"], "stroke-width": kept ? 1.5 + 5 * weight : 1, "stroke-opacity": kept ? 0.75 : 0.5,
      ...(kept ? { "marker-end": `url(#hap-look-${this.panel.side}-${colour})` } : { "stroke-dasharray": "2 4" }),
    });
  }

  /** The picture as a file. */
  saved() {
    const copy = this.svg.cloneNode(true), { background, text } = this.view.colours, { width, height } = this.svg.viewBox.baseVal;
    const rules = `text{font:600 12px ${FONT};text-anchor:middle}.hap-token text{font-weight:400}.hap-token .hap-met{font-weight:700}.hap-place{font-size:11px}`;
    for (const [key, value] of Object.entries({ xmlns: SVG, viewBox: `0 -24 ${width} ${height + 24}`, width, height: height + 24 })) copy.setAttribute(key, value);
    copy.prepend(make("style", {}, rules), make("rect", { y: -24, width, height: height + 24, fill: background }),
      make("text", { x: width / 2, y: -6, fill: text }, this.panel.element.querySelector(".hap-title").textContent));
    return new XMLSerializer().serializeToString(copy);
  }

  /** What the circuit predicts, over the last token. */
  logits() {
    const { colours } = this.view, x = this.x.get(this.end), text = this.prompt.answer ? `→ ${this.prompt.answer}` : "logits";
    const width = Math.max(this.wide, this.width(text) + 14), y = SENTENCE.top - 25;
    const group = make("g", { class: "hap-out" });
    group.append(make("title", {}, `logits: the answer is ${this.prompt.answer || "the next token"}`),
      make("rect", { x: x - width / 2, y, width, height: 18, rx: 6, fill: colours.both }),
      make("text", { x, y: y + 13, fill: colours.background }, text));
    return group;
  }

  token({ x, text, title, role, upright, met }) {
    const { colours } = this.view, group = make("g", { class: "hap-token" }), y = this.base + 15;
    const word = upright
      ? make("text", { transform: `translate(${x + 4},${this.base + 5}) rotate(-90)`, style: "text-anchor: end", fill: colours.text, class: met ? "hap-met" : "" }, text)
      : make("text", { x, y, fill: colours.text, class: met ? "hap-met" : "" }, text);
    group.append(make("title", {}, title), word);
    if (role) group.append(make("text", { x, y: this.foot - 6, fill: colours.muted, class: "hap-place" }, role));
    return group;
  }

  box(head) {
    const { i, at, node, x, y, status } = head, { colours } = this.view, width = this.wide, height = TALL, alone = status === "left" || status === "right";
    const role = colours[node.colour ?? "other"];
    const paint = !status ? { fill: colours.background, stroke: colours[this.missing(head)], "stroke-dasharray": "3 2" }
      : alone ? { fill: colours[status], stroke: colours[status] } : { fill: colours.background, stroke: role };
    const group = make("g", { class: "hap-head-box", "data-id": node.id, "data-at": at, "data-of": i, role: "button", tabindex: at === this.current ? 0 : -1, "aria-pressed": this.view.pinned.includes(node.id), "aria-label": this.called(head) });
    group.append(make("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: 4, "stroke-width": 2, ...paint }),
      make("text", { x, y: y + 4, fill: !status ? this.faded(head) : alone ? colours.background : role }, labelled(node)));
    if (!status) group.append(make("path", { d: this.strike(head), stroke: colours[this.missing(head)], "stroke-width": STRIKE }));
    if (this.view.pinned.includes(node.id)) group.append(make("rect", { ...grown({ x: x - width / 2, y: y - height / 2, width, height }, 3), rx: 6, fill: "none", stroke: colours.text, "stroke-width": 2.5, class: "hap-pin" }));
    const on = this.panel.layer.marked.marks?.nodes[node.id], sign = signPath(x, y, height / 2 + 1, on);
    if (on !== undefined) for (const [stroke, wide] of [[colours.background, 6], [colours.text, 2.5]]) group.append(make("path", { d: sign, stroke, "stroke-width": wide, class: "hap-sign" }));
    return group;
  }

  /** The colour of the text of a box that this circuit lacks. */
  faded() { return this.view.colours.muted; }

  /** A box in words. */
  called({ i, node }) { return `${labelled(node)}: ${this.panel.spoken(node, i)}`; }

  /** The line through a box that this circuit lacks. */
  strike({ x, y }) { return `M${x - this.wide / 2 + 3},${y + TALL / 2 - 3}L${x + this.wide / 2 - 3},${y - TALL / 2 + 3}`; }

  /** The colour of a head that this circuit lacks: that of the circuit that has it. */
  missing({ i }) { return this.view.choice.member(this.panel.other, i) ? this.panel.other : "muted"; }

  point({ id = null, edge = null, at = null }, event) {
    const { view, panel } = this, i = edge === null ? null : Number(edge);
    view.hover({ node: id, edge: i });
    panel.showTip(!event ? null : id ? this.told(at) : i === null ? null : view.words.edge(i), event);
  }

  /** The keyboard reaches one box; arrows walk to the nearest in their direction. */
  enter({ id, at }) {
    if (!id) return;
    this.current = at;
    for (const box of this.svg.querySelectorAll("[data-at]")) box.setAttribute("tabindex", box.dataset.at === at ? 0 : -1);
    this.point({ id, at });
    this.view.words.say(this.told(at).join(" · "));
  }

  step(at, dx, dy) {
    const from = this.drawn.find((head) => head.at === at);
    if (!from) return;
    const away = ({ x, y }) => {
      const along = dx ? (x - from.x) * dx : (from.y - y) * dy, across = Math.abs(dx ? y - from.y : x - from.x);
      return along > 1 ? along + 3 * across : Infinity;
    };
    const [next] = this.drawn.map((head) => [away(head), head.at]).filter(([far]) => far < Infinity).sort((a, b) => a[0] - b[0]);
    if (next) this.focus(next[1]);
  }

  focus(at) { this.svg.querySelector(`[data-at="${CSS.escape(at)}"]`)?.focus(); }

  /** What the pointer and the keyboard tell of a box. */
  told(at) {
    const head = this.drawn.find((one) => one.at === at);
    return [...this.panel.layer.marked.lines(head.node.id), ...this.said(head)];
  }

  said({ query, looks: [{ key, weight }] }) {
    const { tokens, roles } = this.prompt;
    const word = (at) => `“${tokens[at].trim()}”${roles.filter(([, place]) => place === at).map(([role]) => ` (${role})`).join("")}`;
    return [`From ${word(query)} it attends to ${word(key)}: ${weight.toFixed(2)}`];
  }

  press({ id, edge }) {
    if (id) this.view.toggle(id);
    else if (edge) this.view.select(Number(edge));
  }

  /** What is pointed at or found stands out from the rest. */
  light() {
    const { hovered, found, index, edge } = this.view;
    const lit = hovered.node ? [index.get(hovered.node)] : found.map((id) => index.get(id));
    const chosen = hovered.edge ?? (lit.length ? null : edge);
    this.svg.classList.toggle("hap-focused", lit.length > 0 || chosen !== null);
    const near = new Set(lit);
    for (const thread of this.svg.querySelectorAll(".hap-thread")) {
      const of = thread.dataset.of.split(" ").filter(Boolean).map(Number), on = chosen === Number(thread.dataset.edge) || of.some((i) => lit.includes(i));
      thread.classList.toggle("hap-on", on);
      if (on) of.forEach((i) => near.add(i));
    }
    for (const part of this.svg.querySelectorAll(".hap-look, .hap-head-box")) part.classList.toggle("hap-on", near.has(Number(part.dataset.of)));
  }
}
