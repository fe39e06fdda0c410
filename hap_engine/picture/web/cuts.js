/* What is switched off or restored in the picture, and the answer's probability that follows: at once where the run
   holds it (`cuts` of the finding), else from the model, which the page asks (marks.js tells what it said). */

const PATIENCE = 3000; // milliseconds in which the page's older list does not undo a newer change

class Cuts {
  constructor(view) {
    this.view = view;
    this.list = []; // texts: "-a9.h6", "+a3.h1->m7"
    this.sent = -Infinity;
  }

  /** What the page says; it may be older than the last change here, and is then heard again a little later. */
  hear({ changes = [] }) {
    const early = this.sent + PATIENCE - performance.now();
    clearTimeout(this.later);
    if (early > 0 && `${changes}` !== `${this.list}`) {
      this.later = setTimeout(() => this.view.root.isConnected && this.view.heard(), early);
      return;
    }
    this.sent = -Infinity;
    this.list = changes;
  }

  /** The last word on every target: true for on, false for off. */
  get state() {
    return new Map(this.list.flatMap((text) => text.slice(1).split(",").map((target) => [target, text[0] === "+"])));
  }

  has(targets, on) {
    const { state } = this;
    return targets.every((target) => state.get(target) === on);
  }

  /** Other changes, which the page does not hear of. */
  put(list) {
    this.list = list;
    this.sent = performance.now();
  }

  /** A click: "off", "on", or "undo" of what stands about these targets. */
  press(kind, targets) {
    const about = (text) => text.slice(1) === targets.join(",");
    const rest = this.list.filter((text) => !about(text));
    this.put(kind === "undo" ? rest : [...rest, `${kind === "off" ? "-" : "+"}${targets.join(",")}`]);
    const { view } = this;
    view.send("changes", { list: this.list, stamp: Date.now(), live: this.list.length > 0 && SIDES.some((side) => this.after(side) === null) });
    view.redraw();
    view.changed();
  }

  /** Delete: what was clicked last goes, or comes back. */
  flip(last) {
    const { edges, nodes, readers } = this.view.scene;
    const target = typeof last === "string" ? last : `${nodes[edges.writer[last]].id}->${readers[edges.reader[last]].name}`;
    if (last === null || ["input", "logits"].includes(target)) return;
    const targets = this.view.own.members(target);
    this.press(this.has(targets, false) ? "undo" : "off", targets);
  }

  get base() { return this.view.finding?.cuts ?? null; }

  /** Probability of the answer before anything was changed; null where it is not known. */
  before(side) {
    return this.told?.[side]?.[0] ?? this.base?.[side]?.base ?? null;
  }

  /** And after the changes: stored for a single one, else as the model said for just these. */
  after(side) {
    if (!this.list.length) return this.before(side);
    const [text] = this.list, known = this.list.length === 1 && this.view.atSizes.size === null && this.base?.[side];
    if (known) {
      const [here, there] = text[0] === "-" ? [known.off, known.on] : [known.on, known.off], head = text.slice(1);
      if (head in here) return here[head];
      if (head in there) return known.base; // it is as it was
    }
    return this.told?.[side]?.[1] ?? null;
  }

  /** What the model said, if it said it of just these changes. */
  get told() {
    const said = window.hapAnswer;
    return said && `${said.changes}` === `${this.list}` ? said : null;
  }

  /** The bar at the top of each panel. */
  draw() {
    const { view } = this, { finding, panels } = view;
    for (const { element, side, joint } of panels) {
      const box = element.querySelector(".hap-answer");
      const before = finding && !joint ? this.before(side) : null;
      box.hidden = before === null;
      if (box.hidden) continue;
      const after = this.after(side), percent = (share) => `${Math.round(100 * share)} %`;
      const [label, bar, number] = box.children;
      label.textContent = view.lead.say("probability", { answer: finding.prompt.answer });
      bar.firstElementChild.style.width = `${100 * (after ?? before)}%`;
      bar.lastElementChild.style.left = `${100 * before}%`;
      number.textContent = !this.list.length ? percent(before) : after === null ? `${percent(before)} → …` : `${percent(before)} → ${percent(after)}`;
    }
  }

  /** Marks of the changes, for the panels: nodes by id, and edges with their ends. */
  get marks() {
    if (!this.list.length) return null;
    const { scene: { edges, nodes, readers } } = this.view, { state } = this, known = window.hapMarks?.edges ?? [], marks = { nodes: {}, edges: [] };
    for (const { id, members } of nodes) if (members && members.every((head) => state.has(head) && state.get(head) === state.get(members[0]))) marks.nodes[id] = state.get(members[0]);
    for (const [target, on] of state) {
      const [writer, reader] = target.split("->");
      if (!reader) marks.nodes[target] = on;
      else {
        const i = edges.writer.findIndex((w, at) => nodes[w].id === writer && readers[edges.reader[at]].name === reader);
        const ends = i < 0 ? known.find((edge) => edge.writer === writer && edge.reader === reader)?.ends : ENDS.map((key) => edges[key][i]);
        if (ends) marks.edges.push({ on, writer, reader, ends });
      }
    }
    return marks;
  }
}
