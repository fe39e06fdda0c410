/* Both circuits as one matrix: a row per writer (input at the bottom), a column per reader, a mark per
   edge. The only view that stays honest when there are thousands of edges: nothing covers anything.
   Status is a shape as well as a colour: both = square, left = lower left half, right = upper right.
   What a live intervention switched off or restored is a struck row and column, or a signed cell. */

const EDGE = { l: 44, r: 10, t: 10, b: 34 };

class Matrix {
  constructor(view, canvas) {
    this.view = view;
    this.canvas = html("canvas", { class: "hap-matrix", role: "img", tabindex: 0 });
    canvas.append(this.canvas);
    const on = (type, action) => this.canvas.addEventListener(type, action, { signal: view.abort.signal });
    on("pointermove", (event) => this.point(event));
    on("pointerleave", () => this.point(null));
    on("click", (event) => {
      const edge = this.at(event);
      if (edge !== null) view.select(edge);
    });
  }

  get active() { return this.view.mode === "matrix"; }

  /** Rows and columns: only writers and readers that an edge uses, in the graph's order. */
  read() {
    const { edges } = this.view.scene, used = [...edges.writer.keys()].filter((i) => edges.left[i] || edges.right[i]);
    const sorted = (values) => [...new Set(used.map((i) => values[i]))].sort((a, b) => a - b);
    this.writers = sorted(edges.writer);
    this.readers = sorted(edges.reader);
    this.row = new Map(this.writers.map((writer, i) => [writer, i]));
    this.column = new Map(this.readers.map((reader, i) => [reader, i]));
  }

  measure() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.context = this.canvas.getContext("2d");
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.cell = [(width - EDGE.l - EDGE.r) / this.readers.length, (height - EDGE.t - EDGE.b) / this.writers.length];
    this.size = [width, height];
  }

  place(i) {
    const { writer, reader } = this.view.scene.edges;
    return [EDGE.l + this.column.get(reader[i]) * this.cell[0], this.size[1] - EDGE.b - (this.row.get(writer[i]) + 1) * this.cell[1]];
  }

  draw() {
    if (!this.active || !this.canvas.clientWidth) return;
    this.measure();
    const { view, context } = this, { scene, colours } = view;
    const lit = new Set(view.shownLight().edges), dim = lit.size > 0;
    this.frame();
    const w = Math.max(3, this.cell[0]), h = Math.max(3, this.cell[1]);
    this.edges = view.choice.shown.union;
    for (const i of this.edges) {
      const [x, y] = this.place(i), status = STATUS[scene.edges.status[i]];
      context.globalAlpha = dim && !lit.has(i) ? 0.18 : 1;
      context.fillStyle = colours[status];
      context.beginPath();
      if (status === "both") context.rect(x, y, w, h);
      else if (status === "left") context.moveTo(x, y), context.lineTo(x, y + h), context.lineTo(x + w, y + h);
      else context.moveTo(x, y), context.lineTo(x + w, y), context.lineTo(x + w, y + h);
      context.fill();
    }
    context.globalAlpha = 1;
    const changed = this.drawMarks();
    for (const i of view.edge === null ? [] : [view.edge]) {
      const [x, y] = this.place(i);
      context.strokeStyle = colours.text;
      context.lineWidth = 2;
      context.strokeRect(x - 2, y - 2, w + 4, h + 4);
    }
    this.canvas.setAttribute("aria-label",
      `Matrix of ${this.edges.length.toLocaleString("en")} edges: rows are writers, columns are readers. ${changed.map((said) => `${said}. `).join("")}The edge table below holds the same.`);
  }

  /** The marks of a live intervention over the cells; returns them in words. */
  drawMarks() {
    const { marks, index, scene: { nodes, readers } } = this.view;
    if (!marks) return [];
    const [width, height] = this.size, bottom = height - EDGE.b, said = [];
    const across = (writer) => bottom - (this.row.get(writer) + 0.5) * this.cell[1];
    const up = (reader) => EDGE.l + (this.column.get(reader) + 0.5) * this.cell[0];
    const say = (name, on) => said.push(`${name} ${on ? "restored" : "switched off"}`);
    for (const [id, on] of Object.entries(marks.nodes)) {
      const writer = index.get(id);
      if (this.row.has(writer)) {
        this.strike(on, EDGE.l, across(writer), width - EDGE.r, across(writer));
        this.sign(on, EDGE.l - 7, across(writer));
      }
      for (const reader of this.readers) {
        const fed = readers[reader].nodes; // several heads may share a key: it is off when all of them are
        if (!fed.includes(writer) || !fed.every((node) => marks.nodes[nodes[node].id] === on)) continue;
        this.strike(on, up(reader), EDGE.t, up(reader), bottom);
        this.sign(on, up(reader), EDGE.t / 2);
      }
      say(id, on);
    }
    for (const { on, writer, reader } of marks.edges) {
      const row = index.get(writer), column = readers.findIndex(({ name }) => name === reader);
      if (this.row.has(row) && this.column.has(column)) this.sign(on, up(column), across(row));
      say(`${writer} → ${reader}`, on);
    }
    return said;
  }

  strike(on, ...[x0, y0, x1, y1]) {
    const { context } = this;
    context.strokeStyle = this.view.colours.text;
    context.lineWidth = 1.5;
    context.setLineDash(on ? [] : [2, 4]);
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
    context.setLineDash([]);
  }

  sign(on, x, y) {
    const { context, view: { colours } } = this, path = new Path2D(signPath(x, y, SIGN, on));
    for (const [stroke, width] of [[colours.background, 6], [colours.text, 2.5]]) {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.stroke(path);
    }
  }

  /** Lines between layers, their numbers, and what rows and columns are. */
  frame() {
    const { context, view } = this, { nodes, readers } = view.scene, [width, height] = this.size;
    const ink = (share) => `color-mix(in srgb, ${view.colours.text} ${share}%, transparent)`;
    context.clearRect(0, 0, width, height);
    context.font = `11px ${FONT}`;
    context.lineWidth = 1;
    const mark = (layers, step, line, label) => {
      let last = -Infinity;
      layers.forEach((layer, i) => {
        if (i && layer === layers[i - 1]) return;
        const at = i * step;
        context.strokeStyle = ink(10);
        context.beginPath();
        line(at);
        context.stroke();
        if (at - last < 16) return;
        last = at;
        context.fillStyle = view.colours.muted;
        label(at, layer);
      });
    };
    const top = nodes.at(-1).layer, name = (layer) => (layer < 0 ? "in" : layer === top ? "out" : `L${layer}`);
    mark(this.writers.map((w) => nodes[w].layer), this.cell[1],
      (at) => { const y = height - EDGE.b - at; context.moveTo(EDGE.l, y); context.lineTo(width - EDGE.r, y); },
      (at, layer) => context.fillText(name(layer), 12, height - EDGE.b - at - 2));
    let end = -Infinity;
    mark(this.readers.map((r) => nodes[readers[r].nodes[0]].layer), this.cell[0],
      (at) => { const x = EDGE.l + at; context.moveTo(x, EDGE.t); context.lineTo(x, height - EDGE.b); },
      (at, layer) => {
        if (at < end) return;
        context.fillText(name(layer), EDGE.l + at, height - EDGE.b + 14);
        end = at + 26;
      });
    context.fillStyle = view.colours.text;
    context.fillText("reader →", width - EDGE.r - 52, height - 4);
    context.save();
    context.translate(9, EDGE.t + 50);
    context.rotate(-Math.PI / 2);
    context.fillText("writer →", 0, 0);
    context.restore();
  }

  /** The shown edge under the pointer, or the nearest within a few pixels. */
  at(event) {
    const area = this.canvas.getBoundingClientRect();
    const x = event.clientX - area.left, y = event.clientY - area.top;
    let best = 36, found = null;
    for (const i of this.edges ?? []) {
      const [left, top] = this.place(i);
      const dx = Math.max(left - x, 0, x - left - this.cell[0]), dy = Math.max(top - y, 0, y - top - this.cell[1]);
      if (dx * dx + dy * dy < best) [best, found] = [dx * dx + dy * dy, i];
    }
    return found;
  }

  point(event) {
    const edge = event && this.at(event);
    this.view.hover({ edge });
    this.view.panels[0].showTip(edge === null ? null : this.view.words.edge(edge), event);
  }
}
