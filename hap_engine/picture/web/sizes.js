/* The slider over sizes: both circuits at any number of edges, from one run (at_sizes.py).

   Each edge has the size at which it enters a circuit, so the circuits of a size are those that entered.
   `Sizes.show` writes that size's places, statuses, nodes and counts into the scene, from which everything
   else is drawn; the run's own size is the scene as it came. Nothing is asked of Python: it hears the size
   that was chosen when the hand lets go. */

const SNAP = 0.012; // share of the scale within which a measured size catches the slider

class Sizes {
  constructor(view) {
    this.view = view;
    this.box = view.root.querySelector(".hap-sizes");
    this.input = this.box.querySelector("input");
    this.output = this.box.querySelector("output");
    this.ticks = this.box.querySelector(".hap-ticks");
    const on = (type, action) => this.input.addEventListener(type, action, { signal: view.abort.signal });
    this.curves = new Curves(this);
    this.held = false; // by a hand that moves it
    on("input", () => this.show(this.under()));
    on("keydown", (event) => this.key(event));
    for (const end of ["change", "keyup", "blur"]) on(end, () => this.release());
  }

  /** Another scene: at the run's own size, unless another one was chosen. */
  read(size) {
    const { scene } = this.view;
    this.data = scene.sizes;
    this.box.hidden = !this.data;
    this.size = this.told = null; // null: the run's own
    if (!this.data) return;
    const { edges, nodes, panels, folded } = scene, { grid } = this.data;
    this.whole = {
      edges: { left: edges.left, right: edges.right, status: edges.status, seeds: edges.seeds },
      nodes: nodes.map(({ status, lines }) => ({ status, lines })),
      panels: { left: { ...panels.left }, right: { ...panels.right } },
      folded,
    };
    this.order = {};
    for (const side of SIDES) {
      const { enters } = this.data[side];
      this.order[side] = [...enters.keys()].filter((i) => enters[i] && enters[i] <= this.data.drawn).sort((a, b) => enters[a] - enters[b]);
    }
    Object.assign(this.input, { min: -Math.log(grid[0]), max: -Math.log(grid.at(-1)), step: "any" });
    this.put(size && size !== this.data.own ? this.within(size) : null);
    this.told = this.size;
  }

  /** Another width or other colours. */
  draw() {
    const width = this.ticks.clientWidth;
    if (!this.data || !width) return;
    const named = legible(this.data.grid, (n) => width * this.place(n), this.data.own);
    this.ticks.replaceChildren(...this.data.grid.map((n) => {
      const tick = html("i", {}, named.includes(n) ? n.toLocaleString("en") : "");
      tick.style.left = `${100 * this.place(n)}%`;
      return tick;
    }));
    this.curves.draw();
  }

  within(size) {
    const { grid } = this.data;
    return Math.min(grid[0], Math.max(this.data.front || grid.at(-1), size));
  }

  /** Where a size lies on the scale, from 0 (loosest) to 1. */
  place(size) {
    const { grid } = this.data;
    return Math.log(grid[0] / size) / Math.log(grid[0] / grid.at(-1));
  }

  /** The size at a place of the scale; a measured one that is near catches it. */
  at(place) {
    const { grid } = this.data, size = this.within(Math.round(grid[0] * (grid.at(-1) / grid[0]) ** place));
    return grid.find((n) => Math.abs(this.place(n) - this.place(size)) < SNAP) ?? size;
  }

  /** The size that the slider shows. */
  under() {
    return this.at(this.place(Math.exp(-this.input.value)));
  }

  /** Arrow keys step from one measured size to the next. */
  key(event) {
    const { grid, own } = this.data, size = this.size ?? own;
    const smaller = grid.find((n) => n < size) ?? size, larger = grid.findLast((n) => n > size) ?? size;
    const next = {
      ArrowRight: smaller, ArrowUp: larger, ArrowLeft: larger, ArrowDown: smaller, Home: grid[0], End: grid.at(-1),
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.show(this.within(next));
  }

  /** Show the circuits of a size; everything is drawn again within a frame. */
  show(size) {
    const { view } = this;
    if (view.replay.wanted) view.replay.toggle();
    this.held = true;
    this.put(size === this.data.own ? null : size);
    view.soon();
  }

  /** The hand lets go: the picture is drawn in full, and Python hears of the choice once. */
  release() {
    if (this.held) this.view.soon();
    this.held = false;
    this.tell();
  }

  tell() {
    if (this.size === this.told) return;
    this.told = this.size;
    this.view.send("size", this.size ?? 0);
  }

  /** Back to what the run itself found. */
  reset() {
    if (this.size === null) return;
    this.put(null);
    this.tell();
  }

  put(size) {
    const { view } = this, { scene } = view;
    this.size = size;
    this.input.value = -Math.log(size ?? this.data.own);
    if (size === null) this.restore();
    else this.write(size);
    scene.folded = size === null ? this.whole.folded : refolded(scene, this.whole.folded);
    if (view.choice) {
      view.choice.measure();
      view.threshold.set(Number.isFinite(view.choice.limit) ? view.choice.limit : 0);
      view.choice.update();
      view.matrix.read();
      view.drawer.draw();
      this.say();
    }
  }

  restore() {
    const { edges, nodes, panels } = this.view.scene, { whole } = this;
    Object.assign(edges, whole.edges);
    nodes.forEach((node, i) => Object.assign(node, whole.nodes[i]));
    for (const side of SIDES) Object.assign(panels[side], whole.panels[side]);
  }

  write(size) {
    const { edges, nodes, panels, readers } = this.view.scene, { data, whole } = this;
    const count = edges.writer.length, places = {}, kept = {}, degrees = {};
    for (const side of SIDES) {
      const { enters, nodes: from } = data[side], live = this.order[side].filter((i) => enters[i] <= size);
      const place = (places[side] = new Array(count).fill(0));
      const into = new Int32Array(nodes.length), out = new Int32Array(nodes.length);
      live.forEach((i, at) => {
        place[i] = at + 1;
        out[edges.writer[i]]++;
        for (const node of readers[edges.reader[i]].nodes) into[node]++;
      });
      kept[side] = from.map((least) => least > 0 && least <= size);
      const known = size <= data.drawn; // of a larger circuit only its first edges came along
      degrees[side] = (i) => (kept[side][i] ? `kept${known ? `, ${into[i]} in, ${out[i]} out` : ""}` : "not kept");
      Object.assign(panels[side], {
        edges: this.count(side, size), shown: live.length, curve: [], measure: "order of the method, widest = kept longest",
      });
    }
    const status = (left, right) => STATUS[[3, 2, 1, 0][2 * !!left + !!right]];
    const has = (side, i) => data[side].enters[i] > 0 && data[side].enters[i] <= size;
    const seeds = data.seeds?.[data.grid.indexOf(size)]; // known at the measured sizes alone
    Object.assign(edges, places, { seeds, status: places.left.map((_, i) => STATUS.indexOf(status(has("left", i), has("right", i)))) });
    nodes.forEach((node, i) => {
      node.status = status(kept.left[i], kept.right[i]);
      const side = (line) => SIDES.find((one) => line.startsWith(`${panels[one].short}: `));
      node.lines = whole.nodes[i].lines.map((line) => (side(line) ? `${panels[side(line)].short}: ${degrees[side(line)](i)}` : line));
    });
  }

  /** Live edges of a side's largest circuit of at most `size`: its order does not have every number. */
  count(side, size) {
    const [from, to] = this.data[side].runs, last = from.findLastIndex((first) => first <= size);
    return last < 0 ? 0 : Math.min(size, to[last]);
  }

  /** A curve's number at a size, measured or between those that were; null where there is none. */
  value(curve, name, size) {
    const { sizes, [name]: values } = curve;
    if (!values || curve.look === "dots") return null;
    const at = sizes.indexOf(size), below = sizes.findIndex((n) => n < size);
    if (at >= 0) return values[at] === null ? null : { value: values[at], exact: true };
    if (below < 1 || values[below - 1] === null || values[below] === null) return null;
    const between = Math.log(sizes[below - 1] / size) / Math.log(sizes[below - 1] / sizes[below]);
    return { value: values[below - 1] + between * (values[below] - values[below - 1]), exact: false };
  }

  /** Whether what the panels show was measured at a size. */
  exact(size) {
    return this.data.curves.every(({ side, look, sizes }) => !side || look === "dots" || sizes.includes(size) || size > sizes[0]);
  }

  /** A side's numbers at the size; "" at the run's own size, which has its own. */
  measured(side) {
    if (!this.data || this.size === null) return "";
    const curve = this.data.curves.find((one) => one.side === side), { size } = this;
    const found = [["KL", "kl"], ["faithfulness", "faithfulness"]].map(([title, name]) => [title, curve && this.value(curve, name, size)]);
    const parts = found.filter(([, number]) => number).map(([title, { value, exact }]) => `${title} ${exact ? "" : "≈ "}${value.toFixed(2)}`);
    return parts.length ? `${parts.join(", ")} (${this.exact(size) ? `on ${this.data.told}` : "between measured sizes"})` : "";
  }

  /** What is on screen in one sentence: the size, and which S-inhibition heads either circuit keeps there. */
  say() {
    const { scene } = this.view, { data } = this, size = this.size ?? data.own, heads = scene.nodes.filter(({ ring, members }) => ring && !members);
    const kept = SIDES.map((side) => {
      const names = heads.filter(({ status }) => status === "both" || status === side).map(({ id }) => id);
      const told = names.length > NAMED ? names.length : names.join(" and ") || "none";
      return `${scene.panels[side].short} keeps ${told}`;
    });
    const short = SIDES.filter((side) => scene.panels[side].edges !== size).map((side) => {
      const { short: name, edges } = scene.panels[side];
      return this.size === null ? `${name} has ${edges.toLocaleString("en")}` : `${name}’s order has no circuit of ${size.toLocaleString("en")} edges: ${edges.toLocaleString("en")} here`;
    });
    const text = [
      `${size.toLocaleString("en")} edges, ${share(size, data.total)} removed${this.size !== null ? "" : data.front ? " (the front of the descent)" : " (the run's own size)"}`,
      ...(heads.length ? [`of ${heads.length} S-inhibition head${heads.length > 1 ? "s" : ""} ${kept.join(", ")}`] : []), ...short,
    ].join(" · ");
    this.output.textContent = text;
    this.input.setAttribute("aria-valuetext", text);
    this.curves.mark();
  }
}

const NAMED = 4; // heads; of more the number is said

const SIDES = ["left", "right"];
const COLUMNS = { "other heads": -1, MLPs: 1, "norm writers": 2 }; // of what has no role, in the picture by role

/** The picture by role for the edges and nodes of another size (as groups.py counts them). */
function refolded({ edges, nodes, readers }, { groups }, drawn = () => true) {
  const home = new Map(groups.flatMap(({ id, members }) => members.map((member) => [member, id])));
  const other = { input: "input", logits: "logits", mlp: "MLPs", norm: "norm writers", head: "other heads" };
  const of = nodes.map(({ id, kind }) => home.get(id) ?? other[kind]);
  const counts = new Map();
  edges.writer.forEach((writer, i) => {
    if ((!edges.left[i] && !edges.right[i]) || !drawn(i)) return;
    for (const target of new Set(readers[edges.reader[i]].nodes.map((node) => of[node]))) {
      const key = `${of[writer]}\n${target}`;
      if (!counts.has(key)) counts.set(key, { source: of[writer], target, left: 0, right: 0 });
      for (const side of SIDES) if (edges[side][i]) counts.get(key)[side]++;
    }
  });
  const here = new Set(groups.map(({ id }) => id)), middle = Math.max(...groups.map(({ y }) => y)) / 2;
  const beside = Object.entries(COLUMNS).filter(([id]) => of.includes(id) && !here.has(id) && [...counts.keys()].some((key) => key.split("\n").includes(id)));
  const all = [...groups, ...beside.map(([id, x]) => ({ id, title: id[0].toUpperCase() + id.slice(1), colour: "other", members: [], x, y: middle }))];
  const keeps = (id, side) => (i) => of[i] === id && !nodes[i].grouped && (nodes[i].status === "both" || nodes[i].status === side);
  const names = (id, side) => [...nodes.keys()].filter(keeps(id, side)).map((i) => nodes[i].id);
  return {
    groups: all.map((group) => {
      const inner = counts.get(`${group.id}\n${group.id}`);
      return {
        ...group, kept_left: names(group.id, "left"), kept_right: names(group.id, "right"),
        members: [...new Set([...group.members, ...names(group.id, "left"), ...names(group.id, "right")])],
        inner: [inner?.left ?? 0, inner?.right ?? 0],
      };
    }),
    bundles: [...counts.values()].filter(({ source, target }) => source !== target),
  };
}
