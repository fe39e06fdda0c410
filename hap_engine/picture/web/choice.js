/* Which edges show, and what follows from that: the nodes that each circuit keeps, and their status.

   Three things choose: statuses that are switched off in the legend, the slider that keeps only each
   circuit's strongest edges (by its own measure), and a step of the replay, which shows in the right
   panel all candidates whose gates were open then. Nothing here moves or draws anything. */

const BARS = 8; // MLPs that read well beside the heads; of more the lane is closed at first

class Choice {
  constructor(scene) {
    this.scene = scene;
    this.off = new Set();
    this.lane = scene.nodes.filter(({ kind, status }) => kind === "mlp" && status !== "none").length <= BARS; // MLPs apart
    this.paths = []; // heads of which only the ways to the logits show
    this.only = null; // nodes to which the picture is confined
    this.limit = Infinity; // strongest edges of each circuit
    this.replay = null;
    this.step = null; // of the replay
    this.measure();
    this.update();
  }

  /** What follows from the circuits themselves. */
  measure() {
    const { edges, panels } = this.scene;
    this.order = {};
    for (const side of ["left", "right"])
      this.order[side] = [...edges[side].keys()].filter((i) => edges[side][i]).sort((a, b) => edges[side][a] - edges[side][b]);
    this.largest = Math.max(panels.left.shown, panels.right.shown);
  }

  allowed(side) {
    return Math.min(this.scene.panels[side].shown, this.limit);
  }

  /** Share of the circuit's summed |EAP score| that its shown edges hold, or null if it has no scores. */
  share(side) {
    const { score } = this.scene.edges, sum = (indices) => indices.reduce((total, i) => total + Math.abs(score[i] ?? 0), 0);
    const whole = sum(this.order[side]);
    return whole > 0 ? sum(this.shown[side]) / whole : null;
  }

  update() {
    const { nodes, edges } = this.scene;
    const on = edges.writer.map((_, i) => !this.off.has(STATUS[edges.status[i]]) && this.inside(i));
    nodes.forEach((node) => {
      node.folded ??= node.hidden;
      node.hidden = node.folded || (node.kind === "mlp" && !this.lane);
    });
    const within = (side) => {
      const seen = this.paths.length ? this.ways(side) : this.order[side].filter((i) => this.lane || !this.ofMlp(i)).slice(0, this.allowed(side));
      return seen.filter((i) => on[i]).sort((a, b) => a - b);
    };
    const left = within("left");
    this.extra = []; // candidates of the replay that neither circuit keeps in the end
    let right = within("right");
    if (this.step !== null) {
      const { last, edge } = this.replay;
      const open = [...last.keys()].filter((i) => last[i] >= this.step);
      right = open.map((i) => edge[i]).filter((i) => i >= 0 && on[i]);
      this.extra = open.filter((i) => edge[i] < 0);
      this.open = open.length;
    }
    const both = new Set([...left, ...right]);
    this.shown = { left, right, union: [...both].sort((a, b) => a - b) };
    const members = (side) => nodes.map((_, i) => (this.member(side, i) ? 1 : 0)); // however few edges are drawn
    this.kept = { left: members("left"), right: this.step === null ? members("right") : this.open_(right) };
    this.touched = { left: this.among("left", left), right: this.step === null ? this.among("right", right) : this.kept.right };
    this.status = nodes.map((node, i) => this.step === null
      ? node.status
      : STATUS[[3, 2, 1, 0][2 * this.kept.left[i] + this.kept.right[i]]]);
  }

  /** A circuit's edges without regard to how many are drawn; at a step of the replay those that are open. */
  whole(side) {
    if (this.step !== null) return this.shown[side];
    const { left, right, writer, status } = this.scene.edges;
    return [...writer.keys()].filter((i) => (side === "union" ? left[i] || right[i] : this.scene.edges[side][i]) && !this.off.has(STATUS[status[i]]) && this.inside(i));
  }

  /** Whether an edge joins two nodes to which the picture is confined, if it is. */
  inside(i) {
    const { edges, readers } = this.scene;
    return !this.only || (this.only.has(edges.writer[i]) && readers[edges.reader[i]].nodes.some((node) => this.only.has(node)));
  }

  /** Whether an edge begins or ends at an MLP. */
  ofMlp(i) {
    const { nodes, edges, readers } = this.scene;
    return nodes[edges.writer[i]].kind === "mlp" || readers[edges.reader[i]].nodes.some((node) => nodes[node].kind === "mlp");
  }

  /** A circuit's edges on the ways from the heads in `paths` to the logits, however weak. */
  ways(side) {
    const { nodes, edges, readers } = this.scene, from = new Set(this.paths), to = new Set([nodes.length - 1]);
    const up = [...this.order[side]].sort((a, b) => edges.writer[a] - edges.writer[b]); // mostly in the order of the pass
    for (let before = 0; before !== from.size + to.size; ) { // again while something is added: a group spans layers
      before = from.size + to.size;
      for (const i of up) if (from.has(edges.writer[i])) for (const node of readers[edges.reader[i]].nodes) from.add(node);
      for (const i of up.toReversed()) if (readers[edges.reader[i]].nodes.some((node) => to.has(node))) to.add(edges.writer[i]);
    }
    return this.order[side].filter((i) => from.has(edges.writer[i]) && readers[edges.reader[i]].nodes.some((node) => to.has(node)));
  }

  /** Whether a node that a circuit keeps steps back, since none of its edges is drawn and it has no role. */
  quiet(side, i) {
    if (this.only && !this.only.has(i)) return true;
    const at = side === "union" ? this.touched.left[i] || this.touched.right[i] : this.touched[side][i];
    return this.step === null && !at && !this.scene.nodes[i].mark && this.scene.nodes[i].kind !== "logits" && this.scene.nodes[i].kind !== "input";
  }

  /** Whether a circuit as a whole keeps a node, however few of its edges are drawn. */
  member(side, i) {
    const { status } = this.scene.nodes[i];
    return status === "both" || status === side;
  }

  /** A circuit's nodes that a shown edge touches. */
  among(side, indices) {
    const { nodes, edges, readers } = this.scene, touched = new Uint8Array(nodes.length);
    for (const i of indices) {
      touched[edges.writer[i]] = 1;
      for (const node of readers[edges.reader[i]].nodes) touched[node] = 1;
    }
    return nodes.map((_, i) => (touched[i] && this.member(side, i) ? 1 : 0));
  }

  /** At a step of the replay: nodes with an open edge in and an open edge out. */
  open_(indices) {
    const { nodes, edges, readers } = this.scene;
    const into = new Uint8Array(nodes.length), out = new Uint8Array(nodes.length);
    const add = (writer, targets) => {
      out[writer] = 1;
      for (const node of targets) into[node] = 1;
    };
    for (const i of indices) add(edges.writer[i], readers[edges.reader[i]].nodes);
    for (const i of this.extra) add(this.replay.writer[i], this.replay.nodes[i]);
    return nodes.map(({ id }, i) => ((into[i] || id === "input") && (out[i] || id === "logits") ? 1 : 0));
  }
}

/** The slider below the bar: how many of the strongest edges are drawn, on a scale of equal ratios. */
class Threshold {
  constructor(view) {
    this.view = view;
    this.input = view.root.querySelector(".hap-threshold input");
    this.output = view.root.querySelector(".hap-threshold output");
    this.input.addEventListener("input", () => {
      this.view.choice.limit = this.limit();
      this.say();
      this.view.soon();
    }, { signal: view.abort.signal });
    this.input.addEventListener("change", () => {
      const limit = this.limit();
      this.view.send("drawn", Number.isFinite(limit) ? limit : 0);
    }, { signal: view.abort.signal });
  }

  limit() {
    const { value, max } = this.input;
    return value === max ? Infinity : Math.max(1, Math.round(this.view.choice.largest ** (value / max)));
  }

  /** Put the slider where `limit` edges are drawn (0: all). */
  set(limit) {
    const { largest } = this.view.choice, max = Number(this.input.max);
    const all = !limit || limit >= largest;
    this.input.value = all ? max : Math.min(max - 1, Math.round((max * Math.log(limit)) / Math.log(largest)));
    this.view.choice.limit = all ? Infinity : limit;
    this.say();
  }

  say() {
    const { choice, scene } = this.view;
    const count = (side) => Math.min(choice.allowed(side), scene.panels[side].edges).toLocaleString("en");
    const same = choice.allowed("left") === choice.allowed("right");
    const text = choice.paths.length ? "every edge on the ways from the pinned heads to the logits" : Number.isFinite(choice.limit)
      ? `the ${count("left")} strongest edges of each circuit${choice.lane ? "" : " between heads"}`
      : `all edges: ${same ? count("left") : `${count("left")} and ${count("right")}`}`;
    this.output.textContent = text;
    this.input.setAttribute("aria-valuetext", text);
  }
}

/** The pruning, played: a slider over the steps at which a candidate's gate was last open. */
class Replay {
  constructor(view) {
    this.view = view;
    this.box = view.root.querySelector(".hap-replay");
    this.input = this.box.querySelector("input");
    this.output = this.box.querySelector("output");
    this.button = view.root.querySelector('[data-do="replay"]');
    this.play = this.box.querySelector('[data-do="play"]');
    this.wanted = false;
    this.input.addEventListener("input", () => {
      this.stop();
      this.show(Number(this.input.value));
    }, { signal: view.abort.signal });
  }

  /** Python sends the replay once it is asked for; a saved page brings it along. */
  receive(data, exists) {
    this.button.hidden = !exists;
    if (data && data !== this.sent) this.offered = this.placed((this.sent = data));
    if (this.wanted && !this.view.choice.replay) this.begin();
  }

  /** The replay of the nodes as the scene has them, groups as one. */
  placed(data) {
    const { to } = this.view.scene;
    return { ...data, writer: data.writer.map((i) => to[i]), nodes: data.nodes.map((nodes) => nodes.map((i) => to[i])) };
  }

  toggle() {
    this.wanted = !this.wanted;
    this.button.setAttribute("aria-pressed", this.wanted);
    this.box.hidden = !this.wanted;
    if (!this.wanted) return this.end();
    this.view.atSizes.reset();
    this.output.textContent = "Loading the replay…";
    if (this.offered) this.begin();
    else this.view.send("replay", true);
  }

  begin() {
    if (!this.offered) return;
    const { scene, choice } = this.view;
    choice.replay = this.offered;
    this.paths ??= this.offered.writer.map((_, i) => curve(this.offered, i, scene.lift));
    this.input.max = this.offered.steps.length - 1;
    this.show(0);
    this.start();
  }

  show(index) {
    const { choice } = this.view, step = choice.replay.steps[index];
    this.input.value = index;
    choice.step = step;
    const kl = choice.replay.kl[step];
    choice.update();
    const text = `step ${step} of ${choice.replay.steps.at(-1)} · ${choice.open.toLocaleString("en")} candidate edges open` +
      (kl === null || kl === undefined ? "" : ` · KL ${kl.toFixed(2)} while training`);
    this.output.textContent = text;
    this.input.setAttribute("aria-valuetext", text);
    this.view.soon();
  }

  start() {
    this.play.textContent = "Pause";
    const pace = matchMedia("(prefers-reduced-motion: reduce)").matches ? 800 : 180;
    this.timer = setInterval(() => {
      const next = Number(this.input.value) + 1;
      if (next > Number(this.input.max)) return this.stop();
      this.show(next);
    }, pace);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
  }

  press() {
    if (this.timer) return this.stop();
    if (Number(this.input.value) >= Number(this.input.max)) this.show(0);
    this.start();
  }

  /** For slides. */
  animate() {
    if (this.offered) download(film(this.view, this.offered), "image/svg+xml", "pruning.svg");
  }

  /** Another scene: what was sent for the last one does not fit it. */
  forget() {
    if (this.wanted) this.toggle();
    this.offered = this.paths = this.sent = null;
  }

  end() {
    this.stop();
    this.view.choice.step = null;
    this.view.soon();
  }
}
