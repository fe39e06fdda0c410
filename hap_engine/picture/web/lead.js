/* Above the picture: the prompt with its answer, how far each method is from the model, and the heads in which
   the two circuits differ. Numbers and heads are those of the size that the slider shows (finding.py has the rest). */

const BEYOND = 1.12; // the scale goes on a little behind "everything corrupted", for what is worse
const CHIPS = 4; // shown of the heads without a role, where no head has one

/** A sentence of the run's words with its values. */
const filled = (text, values) => text.replace(/<(\w+)>/g, (_, key) => values[key] ?? "");

class Lead {
  constructor(view) {
    this.view = view;
    this.box = view.root.querySelector(".hap-lead");
    this.open = new Set(); // lists that show all their heads
  }

  /** One of the run's sentences, by its dotted name. */
  say(name, values = {}) {
    return filled(name.split(".").reduce((words, part) => words[part], this.view.finding.words), values);
  }

  draw() {
    const { finding, colours } = this.view;
    this.box.hidden = !finding;
    if (!finding || !colours) return;
    this.view.root.querySelector(".hap-told").textContent = finding.sizes;
    const differ = this.differ(), parts = [this.prompt(), html("div", { class: "hap-said" }, this.scale(), this.explained()), html("div", { class: "hap-differ" }, ...differ)];
    const places = this.view.atSizes.size === null ? finding.places : []; // said of the run's own circuits
    this.box.replaceChildren(...parts, ...places.map((text) => html("p", {}, text)), ...finding.warnings.map((text) => html("p", { class: "hap-warned" }, text)));
  }

  prompt() {
    const { tokens, answer, instead } = this.view.finding.prompt;
    const shown = tokens.map(([text, role]) => (role
      ? html("span", { class: "hap-word", "data-kind": this.kind(text) }, text.trim(), html("small", {}, role))
      : html("span", {}, text)));
    const spaced = shown.flatMap((part, i) => (i && (/^\s/.test(tokens[i][0]) || !/^\W/.test(tokens[i][0]) && this.bare) ? [" ", part] : [part]));
    return html("p", { class: "hap-prompt" }, ...spaced, html("span", { class: "hap-arrow" }, " → "), html("b", {}, answer),
      ...(instead ? [html("span", { class: "hap-quiet" }, ` ${this.say("instead", { instead })}`)] : []));
  }

  /** Whether tokens are whole words without the spaces between them. */
  get bare() {
    return !this.view.finding.prompt.tokens.slice(1).some(([text]) => /^\s/.test(text));
  }

  /** What a token with a role is to the answer. */
  kind(text) {
    const { answer, instead } = this.view.finding.prompt, word = text.trim();
    return word === answer ? "answer" : word === instead ? "instead" : "other";
  }

  /** KL of a side at the size that is shown. */
  kl(side) {
    const { finding, atSizes } = this.view;
    const curve = atSizes.size === null ? null : atSizes.data?.curves.find((one) => one.side === side && one.look === "line");
    return curve ? atSizes.value(curve, "kl", atSizes.size) : finding.methods[side].kl === null ? null : { value: finding.methods[side].kl, exact: true };
  }

  /** How far a side is from the model: as a share of the way to "everything corrupted", judged, and in words. */
  distance(side) {
    const kl = this.kl(side), { empty } = this.view.finding;
    if (!kl) return null;
    const share = empty ? kl.value / empty : null;
    const judged = share === null ? "" : share > 1 ? "worse" : share > 0.5 ? "far" : "good";
    const number = `${kl.exact ? "" : this.say("guessed")}${kl.value.toFixed(2)}`;
    return { share, judged, text: judged ? this.say(judged, { kl: number, share: `${Math.round(100 * (1 - share))} %` }) : `KL ${number}` };
  }

  scale() {
    const { finding, colours } = this.view, { empty } = finding;
    const rows = SIDES.flatMap((side) => {
      const found = this.distance(side);
      if (!found) return [];
      const { share, judged, text } = found;
      const track = html("span", { class: "hap-track", "aria-hidden": "true" }, html("i", {}), html("i", { class: "hap-end" }));
      const at = share === null ? 0 : 100 * Math.min(1, share / BEYOND);
      track.firstChild.style.cssText = `width:${at}%;background:${colours[side]}`;
      track.lastChild.style.left = `${100 / BEYOND}%`;
      return [html("b", {}, finding.methods[side].title), track, html("span", { class: judged === "good" ? "" : "hap-bad" }, text)];
    });
    if (!rows.length) return "";
    const ends = empty ? [html("span", {}), html("span", { class: "hap-ends" }, html("span", {}, this.say("model")), html("span", {}, this.say("empty"))), html("span", {})] : [];
    return html("div", { class: "hap-scale" }, ...ends, ...rows);
  }

  /** Which heads one circuit keeps and the other does not, those that the left one misses first. */
  differ() {
    this.named = false; // whether a chip says S-inhibition
    const { finding: { methods: { left, right } } } = this.view;
    const titles = { left: left.title, right: right.title };
    return [["misses", this.only("right")], ["drops", this.only("left")]].map(([name, heads]) => {
      const text = this.say(heads.length ? name : `${name}_none`, { ...titles, count: this.count(heads) });
      return html("div", { class: "hap-chips" }, html("p", { class: "hap-count" }, text), ...this.chips(name, heads));
    });
  }

  count(heads) {
    return heads.length === 1 ? this.say("head") : this.say("heads", { n: heads.length });
  }

  /** The role that the method is about, where a chip names it. */
  explained() {
    const told = Object.values(this.view.finding.heads).find(({ role }) => role === "S-inhibition");
    return told && this.named ? html("p", { class: "hap-quiet" }, html("b", {}, `${told.role}: `), told.does) : "";
  }

  /** Heads that only one side keeps: those with a role first, then by the size of what was measured. */
  only(side) {
    const { scene, finding } = this.view;
    const weight = ({ id }) => { const known = finding.heads[id] ?? {}; return (known.role ? 1e3 : 0) + Math.abs(known.effect ?? known.direct ?? 0); };
    return scene.nodes.filter(({ kind, status, members }) => kind === "head" && !members && status === side).sort((a, b) => weight(b) - weight(a));
  }

  chips(name, heads) {
    if (!heads.length) return [];
    const { finding: { heads: facts } } = this.view, named = heads.filter(({ id }) => facts[id]?.role);
    if (named.some(({ id }) => facts[id].role === "S-inhibition")) this.named = true;
    const few = named.length ? named : heads.slice(0, CHIPS), open = this.open.has(name), rest = heads.length - few.length;
    const more = html("button", { type: "button", class: "hap-more", "data-more": name },
      open ? this.say("fewer") : this.say(named.length ? "more" : "others", { n: rest }));
    return [...(open ? heads : few).map((node) => this.chip(node)), ...(rest ? [more] : [])];
  }

  /** Show all heads of a list, or few. */
  turn(name) {
    this.open.has(name) ? this.open.delete(name) : this.open.add(name);
    this.draw();
    this.box.querySelector(`[data-more="${name}"]`)?.focus();
  }

  /** Which chips are pinned. */
  mark() {
    for (const chip of this.box.querySelectorAll("[data-pin]")) chip.setAttribute("aria-pressed", this.view.pinned.includes(chip.dataset.pin));
  }

  chip(node) {
    const { view } = this, known = view.finding.heads[node.id] ?? {};
    const parts = [
      known.marginal && this.say("marginal"),
      known.rank && this.say("rank", { rank: known.rank.toLocaleString("en") }),
      known.said || (known.direct ? this.say("effect", { effect: known.direct.toFixed(2) }) : ""),
    ].filter(Boolean);
    const mark = node.mark ? html("i", { class: "hap-mark" }, node.mark) : "";
    if (mark) mark.style.background = view.colours[node.colour];
    return html("button", {
      type: "button", class: "hap-chip", "data-pin": node.id, "aria-pressed": view.pinned.includes(node.id),
      title: [known.does, known.evidence].filter(Boolean).join(" "),
    }, mark, html("b", {}, node.short), ...(known.role ? [` ${known.role}`] : []), html("span", { class: "hap-quiet" }, ` ${parts.join(" · ")}`));
  }
}
