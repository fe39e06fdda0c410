/* The run told for a projector: one sentence and one picture a step, as large as the screen; arrow keys walk.

   Every sentence is filled from the run, and a step that the run has nothing for is left out. What the story pins,
   switches off or replays is its own: leaving it brings back what was there. */

const KEYS = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Home: -Infinity, End: Infinity };
const DRAWN_FOR = [1280, 720]; // pixels at which type has its usual size; a larger screen has it larger

class Story {
  constructor(view) {
    this.view = view;
    this.box = view.root.querySelector(".hap-story");
    this.at = null; // the step on screen; null: the page as it is
    const on = (target, type, action, rest = {}) => target.addEventListener(type, action, { signal: view.abort.signal, ...rest });
    on(document, "keydown", (event) => this.key(event), { capture: true });
    on(window, "resize", () => this.on && this.fit());
  }

  get on() { return this.at !== null; }

  /** The page's own switch says whether the story is told; where there is none, a button of the picture does. */
  receive(present) {
    this.view.root.querySelector('[data-do="present"]').hidden = typeof present === "boolean" || !this.view.finding;
    if (present !== this.asked && typeof present === "boolean" && present !== this.on) present ? this.open() : this.close();
    this.asked = present;
    if (this.on) this.show(this.at); // the page brought its own pins back
  }

  open() {
    const { view } = this, { pinned, last, mode, cuts, root } = view;
    if (!view.finding) return;
    this.before = { pinned, last, mode, cuts: cuts.list };
    this.at = 0;
    root.classList.add("hap-presenting");
    root.popover = "manual"; // above all else on the page
    root.showPopover();
    this.fit();
    this.show(0);
    this.box.querySelector('[data-turn="1"]').focus();
  }

  close() {
    const { view } = this, { root } = view, { pinned, last, mode, cuts } = this.before;
    this.at = null;
    if (view.replay.wanted) view.replay.toggle();
    root.classList.remove("hap-presenting");
    root.hidePopover();
    root.removeAttribute("popover");
    delete root.dataset.story;
    Object.assign(view, { pinned, last });
    view.cuts.list = cuts;
    view.show(mode);
    view.changed();
    if (this.asked) view.ask("show", { present: false });
  }

  fit() {
    const zoom = Math.max(0.75, Math.min(innerWidth / DRAWN_FOR[0], innerHeight / DRAWN_FOR[1]));
    this.view.root.style.setProperty("--hap-zoom", zoom.toFixed(3));
  }

  key(event) {
    if (!this.on || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") this.close();
    else if (event.key in KEYS && !(event.key === " " && event.target.closest?.("button"))) this.turn(KEYS[event.key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  turn(by) {
    const last = this.steps().length - 1, next = Math.max(0, Math.min(last, this.at + by));
    if (next !== this.at) this.show(next);
  }

  show(at) {
    const { view } = this, steps = this.steps(), { name, side = "", pin = null, off = null, text, prompt = false } = steps[at];
    this.at = at;
    view.root.dataset.story = side || "none";
    Object.assign(view, { pinned: pin ? [pin] : [], last: pin, edge: null });
    view.cuts.put(off ? [`-${off}`] : []);
    if ((name === "replay") !== view.replay.wanted) view.replay.toggle();
    const turn = (by, label, sign, off) => html("button", { type: "button", "data-turn": by, "aria-label": label, ...(off ? { disabled: "" } : {}) }, sign);
    const say = (key) => view.lead.say(`story.${key}`);
    const focused = this.box.contains(document.activeElement) ? document.activeElement.dataset.turn : null;
    this.box.replaceChildren(
      html("p", { class: "hap-step" }, say(`titles.${name}`)),
      ...(prompt ? [view.lead.prompt()] : []),
      html("p", { class: "hap-tells", role: "status" }, text),
      html("div", { class: "hap-turns" }, turn(-1, say("previous"), "‹", !at), html("span", {}, `${at + 1} / ${steps.length}`),
        turn(1, say("next"), "›", at === steps.length - 1), html("button", { type: "button", "data-do": "present", "aria-label": say("leave"), title: say("leave") }, "×")),
    );
    if (focused) (this.box.querySelector(`[data-turn="${focused}"]:not(:disabled)`) ?? this.box.querySelector("[data-turn]:not(:disabled)")).focus();
    view.show(name === "replay" ? "pair" : "sentence");
    view.changed();
  }

  /** The steps that this run has, in order: each a name, a side, a sentence, and what is pinned or switched off. */
  steps() {
    return [this.task(), this.circuit("left"), this.missed(), this.cut(), this.circuit("right"), this.replayed()].filter(Boolean);
  }

  say(name, values) { return this.view.lead.say(`story.${name}`, values); }

  task() {
    const { answer, instead } = this.view.finding.prompt;
    return answer ? { name: "task", prompt: true, text: this.say(instead ? "task_instead" : "task", { answer, instead }) } : null;
  }

  circuit(side) {
    const { finding, scene, lead } = this.view, { title } = finding.methods[side];
    const edges = scene.panels[side].edges.toLocaleString("en"), told = lead.distance(side);
    return { name: side, side, text: this.say(told ? "circuit" : "circuit_only", { title, edges, told: told?.text }) };
  }

  /** The heads that only the right circuit keeps, the most telling one named. */
  missed() {
    const { finding: { methods: { left, right }, heads: facts }, lead } = this.view, heads = lead.only("right");
    const titles = { left: left.title, right: right.title }, [node] = heads;
    if (!node) return { name: "missed", side: "left", text: `${lead.say("misses_none", titles)}.` };
    const count = lead.count(heads), { role, does, rank } = facts[node.id] ?? {};
    const ranked = rank ? this.say(role ? "ranked" : "ranked_alone", { rank: rank.toLocaleString("en") }) : "";
    const text = this.say(role ? "missed_role" : "missed", { ...titles, count, head: node.short, role, does, ranked });
    return { name: "missed", side: "left", pin: node.id, text };
  }

  /** What follows without that head, or without the one whose loss changes most, where the run stores it. */
  cut() {
    const { finding, lead, index, atSizes } = this.view, known = finding.cuts?.right;
    if (!known || atSizes.size !== null) return null;
    const change = (head) => Math.abs(known.off[head] - known.base), heads = Object.keys(known.off).filter((head) => index.has(head));
    const missed = lead.only("right").find(({ id }) => id in known.off)?.id, head = missed ?? heads.sort((a, b) => change(b) - change(a))[0];
    if (!head) return null;
    const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
    const values = { right: finding.methods.right.title, head: this.view.node(head).short, answer: finding.prompt.answer, before: percent(known.base), after: percent(known.off[head]) };
    return { name: "cut", side: "right", pin: head, off: head, text: this.say("cut", values) };
  }

  replayed() {
    const { replay, scene, finding } = this.view;
    if (replay.button.hidden) return null;
    const values = { right: finding.methods.right.title, edges: scene.panels.right.edges.toLocaleString("en"), all: replay.offered?.last.length.toLocaleString("en") };
    return { name: "replay", side: "right", text: this.say(replay.offered ? "replay" : "replay_waits", values) };
  }
}
