/* Beside the picture (below 900 px: a sheet from below) what was clicked last: what it does, where it looks, what
   follows without it, its edges in both circuits, and why EAP missed it. Nothing here asks the server. */

const LISTED = 6; // edges shown of a list before "all"

class Drawer {
  constructor(view) {
    this.view = view;
    this.box = view.root.querySelector(".hap-drawer");
    this.token = null; // from which attention is shown; null: where the head acts
    this.whole = new Set(); // lists that show all edges
    const on = (type, action) => this.box.addEventListener(type, action, { signal: view.abort.signal });
    for (const type of ["pointerover", "focusin"]) on(type, ({ target }) => this.look(target.closest("[data-query]")));
  }

  say(name, values = {}) {
    return this.view.lead.say(name, values);
  }

  /** Another node or edge, or nothing: then the sheet is closed and the drawer says what to click. */
  draw() {
    const { view } = this, { last, finding } = view;
    if (!finding) return void (this.box.hidden = true);
    this.box.hidden = false;
    this.box.classList.toggle("hap-empty-drawer", !last);
    if (this.shown !== last) {
      this.token = null;
      this.whole.clear();
      this.box.scrollTop = 0;
    }
    this.shown = last;
    if (!last) return this.box.replaceChildren(html("p", { class: "hap-quiet" }, this.say("start")));
    const close = html("button", { type: "button", class: "hap-close", "data-do": "close", "aria-label": this.say("close"), title: this.say("close") }, "×");
    this.box.replaceChildren(close, ...(typeof last === "string" ? this.node(view.node(last)) : this.edge(last)).filter(Boolean));
  }

  node(node) {
    const { finding, own } = this.view, known = finding.heads[node.id] ?? {};
    const direct = known.direct && !known.role ? this.say("direct", { direct: known.direct.toFixed(3) }) : "";
    return [
      html("h2", {}, node.name),
      this.keepers(node),
      own.form(),
      ...(node.members ? own.group(node) : []),
      node.members ? "" : this.does(node, known),
      known.evidence || direct ? html("p", { class: "hap-quiet" }, known.evidence || direct) : "",
      this.change(own.members(node.id)),
      node.kind === "head" && !node.members ? own.note(node) : "",
      node.kind === "head" && !node.members ? this.attention(node, known) : "",
      ...this.spans(node),
      ...(node.members ? [] : this.says(node)),
      ...this.why(node),
      ...this.edges(node),
    ];
  }

  /** Have the model opened and asked which words a node promotes. */
  ask(id) {
    this.asked = id;
    this.view.ask("show", { words: id });
    this.draw();
  }

  /** Show all edges of a list. */
  unfold(name) {
    this.whole.add(name);
    this.draw();
  }

  keepers({ status }) {
    const { methods } = this.view.finding;
    const one = (side) => {
      const kept = status === "both" || status === side;
      return html("span", { class: `hap-badge${kept ? "" : " hap-bad"}` }, `${kept ? "✓" : "✗"} ${this.say(kept ? "kept" : "not_kept", methods[side])}`);
    };
    return html("p", {}, ...SIDES.map(one));
  }

  /** Where edges act at spans: those at which each circuit keeps a node, and a head's attention from them. */
  spans({ id }) {
    const { view } = this, { spans } = view.scene, table = spans?.between[id];
    if (!spans) return [];
    const read = SIDES.map((side) => view.panels[0].sentence.places(side, view.index.get(id)));
    const told = SIDES.map((side, n) => `${view.scene.panels[side].short}: ${read[n].join(", ") || this.say("nowhere")}`);
    const from = spans.names.filter((name) => read.flat().includes(name));
    return [html("h3", {}, this.say("spans")), html("p", {}, told.join(" · ")), ...(table && from.length ? this.between(table, from) : [])];
  }

  /** A column for each span that attends, a row for each that is attended to. */
  between(table, from) {
    const { scene: { spans: { names } }, colours } = this.view, at = from.map((name) => names.indexOf(name));
    const cell = (row, key) => {
      const share = table[row][key], found = html("td", {}, share.toFixed(2));
      found.style.background = `color-mix(in srgb, ${colours.right} ${Math.round(40 * share)}%, transparent)`;
      return found;
    };
    const rows = names.map((name, key) => html("tr", {}, html("th", { scope: "row" }, name), ...at.map((row) => cell(row, key))));
    const head = html("tr", {}, html("td", {}), ...from.map((name) => html("th", { scope: "col" }, name)));
    return [html("h3", { title: this.say("between_help") }, this.say("between")),
      html("div", { class: "hap-between", tabindex: 0, role: "region", "aria-label": this.say("between") }, html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows)))];
  }

  does(node, known) {
    if (node.kind !== "head") return "";
    const roles = Object.values(this.view.finding.heads).some(({ role }) => role);
    return known.does ? html("p", {}, known.does) : roles ? html("p", { class: "hap-quiet" }, this.say("no_role")) : "";
  }

  /** The sentence, shaded by where the head looks from one of its tokens. */
  attention(node, known) {
    const { finding: { prompt, attention }, colours } = this.view, rows = attention[node.id];
    if (!rows) return html("p", { class: "hap-quiet" }, this.say("no_pattern"));
    const from = this.token ?? this.acts(known, rows), row = rows[from] ?? [];
    const shown = prompt.tokens.slice(0, rows.length).map(([text, role], i) => {
      const share = row[i] ?? 0;
      const token = html("span", { class: `hap-seen${i === from ? " hap-from" : ""}`, "data-query": i, tabindex: 0, title: `${text.trim()} ${share.toFixed(2)}` }, text.trim() || "␣", ...(role ? [html("small", {}, role)] : []));
      token.style.background = `color-mix(in srgb, ${colours.right} ${Math.round(40 * share)}%, transparent)`;
      return token;
    });
    return html("div", {}, html("h3", { title: this.say("looks_help") }, this.say("looks", { token: (prompt.tokens[from]?.[0] ?? "").trim() })), html("p", { class: "hap-shaded" }, ...shown));
  }

  /** The token at which a head acts: the first half of its evidence's pair of roles, else the last token. */
  acts({ evidence = "" }, rows) {
    const [, role] = evidence.match(/^(\S+?)→/) ?? [];
    const at = this.view.finding.prompt.tokens.findIndex(([, named]) => named.split(", ").includes(role));
    return at >= 0 ? at : rows.length - 1;
  }

  look(token) {
    if (!token || Number(token.dataset.query) === this.token) return;
    this.token = Number(token.dataset.query);
    const focused = document.activeElement === token;
    this.draw();
    if (focused) this.box.querySelector(`[data-query="${this.token}"]`).focus();
  }

  /** Words that it promotes and holds back, as the run stores or the model said them; else, where there is one, the button
      that asks it. */
  says({ id, kind }) {
    const { view } = this, { promotes, holds } = view.finding.promoted[id] ?? window[`hapPromoted ${id}`] ?? {};
    if (!promotes && view.measurable && ["head", "mlp"].includes(kind))
      return [html("button", { type: "button", "data-words": id }, this.say(this.asked === id ? "waits" : "ask_words"))];
    if (promotes && !promotes.length && !holds.length) return [html("p", { class: "hap-quiet" }, this.say("says_nothing"))];
    return [["promotes", promotes], ["holds", holds]].flatMap(([name, words]) => (words?.length
      ? [html("h3", {}, this.say(name)), html("p", { class: "hap-words" }, ...words.map(([word, share]) => html("span", {}, `${word.trim() || "␣"} `, html("small", {}, `${share > 0 ? "+" : ""}${(100 * share).toFixed(1)}`))))]
      : []));
  }

  /** Of the run's own circuits as the report says it; at another size, from which size on EAP keeps the node. */
  why(node) {
    const { finding, scene, atSizes, index } = this.view;
    if (!finding.eap || node.status !== "right") return [];
    const from = atSizes.size === null ? 0 : atSizes.data.left.nodes[index.get(node.id)], size = scene.panels.left.edges;
    const text = atSizes.size === null ? finding.dropped[node.id]
      : this.say(from ? "why_from" : "why_never", { from: from.toLocaleString("en"), size: size.toLocaleString("en") });
    return text ? [html("h3", {}, this.say("why")), html("p", {}, text)] : [];
  }

  /** What switching parts off, or restoring them, does; both ways stand here, for either circuit. */
  change(targets) {
    const { cuts } = this.view, [off, on] = [false, true].map((state) => cuts.has(targets, state));
    const button = (state, name) => html("button", { type: "button", "data-cut": state, "data-targets": targets.join(",") }, this.say(name), ...(state === "off" ? [html("kbd", {}, this.say("key"))] : []));
    return html("div", { class: "hap-cuts" }, off || on ? button("undo", "undo") : "", off ? "" : button("off", "off"), on ? "" : button("on", "on"));
  }

  edges(node) {
    const { scene, touching, index } = this.view, { edges, nodes, readers } = scene, here = index.get(node.id);
    const kept = touching[here].filter((i) => STATUS[edges.status[i]] !== "none");
    const place = (i) => Math.min(...SIDES.map((side) => edges[side][i] || Infinity));
    const row = (i, into) => {
      const other = into ? nodes[edges.writer[i]] : nodes[readers[edges.reader[i]].nodes[0]];
      const { slot, span } = readers[edges.reader[i]], status = STATUS[edges.status[i]];
      const rank = edges.rank[i] === null || edges.rank[i] === undefined ? "" : ` ${this.say("rank", { rank: edges.rank[i].toLocaleString("en") })}`;
      return html("button", { type: "button", class: "hap-row", "data-pin": other.id }, html("i", { class: `hap-key hap-${status}` }), html("b", {}, other.short), ...(slot ? [html("small", {}, ` ${slot}`)] : []), ...(scene.spans ? [html("small", {}, ` @${scene.spans.names[span]}`)] : []), html("span", { class: "hap-quiet" }, rank));
    };
    return [["into", true], ["out", false]].flatMap(([name, into]) => {
      const list = kept.filter((i) => (edges.writer[i] === here) !== into).sort((a, b) => place(a) - place(b));
      if (!list.length) return [];
      const shown = this.whole.has(name) ? list : list.slice(0, LISTED);
      const all = shown.length < list.length ? [html("button", { type: "button", class: "hap-more", "data-all": name }, this.say("all", { n: list.length }))] : [];
      return [html("h3", {}, `${this.say(name)} (${list.length})`), html("div", { class: "hap-rows" }, ...shown.map((i) => row(i, into)), ...all)];
    });
  }

  edge(i) {
    const { edges, nodes, readers } = this.view.scene, [title, ...lines] = this.view.words.edge(i);
    return [html("h2", {}, title), ...lines.map((line) => html("p", {}, line)), this.change([`${nodes[edges.writer[i]].id}->${readers[edges.reader[i]].name}`])];
  }
}
