/* What the comparison says in words: the status line, titles and legends, tooltips, and the search. */

const NEARBY = 1.6; // ratio of sizes: a measurement further away says nothing about this cut

class Words {
  constructor(view) {
    this.view = view;
    this.status = view.root.querySelector(".hap-status");
    this.search = view.root.querySelector(".hap-search input");
    const on = (type, action) => this.search.addEventListener(type, action, { signal: view.abort.signal });
    on("input", () => this.find());
    on("keydown", (event) => event.key === "Enter" && this.pinFound());
  }

  say(text) {
    this.status.textContent = text;
  }

  /** An edge as tooltip lines. */
  edge(i) {
    const { edges, readers, nodes, panels } = this.view.scene;
    const status = STATUS[edges.status[i]];
    const place = (side) => `${panels[side].short}: ${edges[side][i] ? `place ${edges[side][i].toLocaleString("en")} of ${panels[side].edges.toLocaleString("en")}` : "not kept"}`;
    const known = [
      edges.score[i] !== null && `EAP score ${edges.score[i]} (${edges.score[i] < 0 ? "helps" : "hinders"} the answer)`,
      edges.rank[i] !== null && `EAP rank ${edges.rank[i].toLocaleString("en")}`,
      edges.gate[i] !== null && `gate (log α) ${edges.gate[i]}`,
      edges.seeds && edges.seeds[i] !== null && `kept by ${Math.round(100 * edges.seeds[i])} % of the searches compared`,
    ].filter(Boolean);
    const where = status === "both" ? "in both circuits" : `only in ${panels[status].short}`;
    return [`${nodes[edges.writer[i]].id} → ${readers[edges.reader[i]].name}, ${where}`, place("left"), place("right"), ...known];
  }

  describe() {
    const { view } = this;
    const chips = view.pinned.map((id) =>
      html("button", { type: "button", "data-unpin": id, "aria-label": `${id}, ${view.node(id).name}: unpin` }, id.replace(/^group:/, "")));
    view.root.querySelector(".hap-pins").replaceChildren(...chips);
    const names = view.pinned.map((id) => view.node(id).name);
    if (view.edge !== null) names.push(`edge ${this.edge(view.edge)[0]}`);
    this.say(names.length
      ? `Pinned: ${names.join("; ")}. Click again to unpin, Esc to clear.`
      : "Hover to trace a node or an edge, click to pin it, scroll to zoom, drag to move. Arrow keys walk, Enter pins, / finds.");
  }

  legends() {
    const { view } = this;
    for (const [name, colour] of Object.entries(view.colours)) view.root.style.setProperty(`--hap-${name}`, colour);
    for (const panel of view.panels) this.legend(panel);
    view.root.querySelector(".hap-roles").replaceChildren(...this.roles());
  }

  /** The letters in the boxes, whatever the view; on the sentence also what its lines mean. */
  roles() {
    const { view } = this, found = new Map(view.scene.nodes.filter(({ mark }) => mark).map((node) => [node.mark, node]));
    const letters = [...found].map(([mark, { label, colour }]) => {
      const letter = html("b", {}, mark);
      letter.style.color = view.colours[colour];
      return html("span", {}, letter, label);
    });
    if (view.family !== "sentence") return view.circuits ? letters : [];
    const drawn = found.size ? "heads with a role, and what is pinned" : "the heads with the largest measured effect, and what is pinned";
    if (view.scene.spans) return [...letters, html("span", {}, `A box stands at a span at which the circuit reads the head’s output. Arrow: the span whose keys and values a head takes, wider for more attention · thin line: an edge of the circuit at that span, dashed from below: the embedding. Drawn are ${drawn}${view.choice.lane ? " and the MLPs" : "; MLPs have a button"}.`)];
    return [...letters, html("span", {}, `Thick arrow: what a head attends to, wider for more · thin line: an edge of the circuit between these heads. Drawn are ${drawn}; MLPs and the other heads are under Edges.`)];
  }

  /** On the sentence: what the boxes of a panel mean. */
  boxes(panel) {
    const { panels } = this.view.scene, { side, joint } = panel, [own, other] = [panels[side].short, panels[panel.other].short];
    const key = (look, name) => html("span", {}, html("i", { class: `hap-key hap-box ${look}` }), name);
    if (joint) return [key("", "in both"), ...["left", "right"].map((one) => key(`hap-${one}`, `only in ${panels[one].short}`))];
    const level = this.view.scene.spans ? [key(`hap-${panel.other} hap-struck hap-level`, `kept, but not at this span, where ${other} keeps it`)] : [];
    return [key("", "in both"), key(`hap-${side}`, `only in ${own}`), key(`hap-${panel.other} hap-struck`, `missed here, ${other} keeps it`), ...level];
  }

  /** Title and legend of a panel; an entry switches its edges on and off. */
  legend(panel) {
    const sentence = this.view.family === "sentence";
    const { scene, choice, mode, atSizes } = this.view, { panels } = scene;
    const { label, measure, edges, short } = panels[panel.side], other = panels[panel.other].short;
    const whole = mode === "roles", { joint } = panel;
    const shown = panel.visible();
    panel.element.querySelector(".hap-title").textContent = joint
      ? `${panels.left.short} and ${panels.right.short}, ${mode === "matrix" ? "as a matrix" : sentence ? (scene.spans ? "at the spans" : "on one sentence") : "overlaid"}`
      : panel.side === "right" && choice.step !== null
        ? `${label}, pruning at step ${choice.step}: ${choice.open.toLocaleString("en")} edges`
        : `${label} · ${edges.toLocaleString("en")} edges${shown.length < edges && !whole && !sentence ? `, ${shown.length.toLocaleString("en")} shown` : ""}`;
    const names = joint
      ? { both: "both", left: `only ${panels.left.short}`, right: `only ${panels.right.short}` }
      : { both: "in both", [panel.side]: `${short}, not ${other}` };
    const count = (status) => shown.filter((i) => STATUS[scene.edges.status[i]] === status).length.toLocaleString("en");
    const entries = sentence ? this.boxes(panel) : Object.entries(names).map(([status, name]) => whole
      ? html("span", {}, html("i", { class: `hap-key hap-${status}` }), name)
      : html("button", { type: "button", "data-do": "status", "data-status": status, "aria-pressed": !choice.off.has(status), title: "Show or hide these edges" },
        html("i", { class: `hap-key hap-${status}` }), `${name} · ${count(status)}`));
    if (this.view.circuits && scene.nodes.some(({ ring }) => ring)) entries.push(html("span", {}, html("i", { class: "hap-key hap-ring" }), "S-inhibition head"));
    const faint = !this.view.circuits ? 0 : shown.filter((i) => panel.faint(i)).length;
    if (faint) entries.push(html("span", {}, html("i", { class: "hap-key hap-faint" }), `faint: fewer than half of the searches keep it · ${faint.toLocaleString("en")}`));
    const { off, on } = panel.layer.marked.counts(), changed = off > 0 || on > 0, box = panel.element.querySelector(".hap-legend");
    box.style.minHeight = changed ? box.style.minHeight || `${box.getBoundingClientRect().height}px` : ""; // a cut moves nothing below
    if (off) entries.push(html("span", { class: "hap-changed" }, `✕ switched off: ${off}`));
    if (on) entries.push(html("span", { class: "hap-changed" }, `+ restored: ${on}`));
    const unscored = joint || choice.step !== null || atSizes.size !== null; // no run stores the scores of other sizes
    const share = unscored ? null : choice.share(panel.side);
    const parts = !changed && share !== null && Number.isFinite(choice.limit) && !whole && !sentence ? [`${Math.round(share * 100)} % of the circuit's Σ |EAP score|`] : [];
    const curve = whole || joint ? null : atSizes.measured(panel.side) || this.faithfulness(panel.side, sentence);
    if (curve && !changed) parts.push(curve); // these numbers are of the circuit as it was
    if (!sentence) parts.push(whole ? "Width and number: edges kept" : joint ? "Line width has no meaning here" : `Line width: ${measure}`);
    if (mode === "matrix") parts.splice(0, parts.length, "A row per writer, a column per reader");
    box.replaceChildren(...entries, html("span", { class: "hap-measure" }, parts.join(" · ")));
  }

  /** Faithfulness at the slider's cut, where this ranking was measured near it, or of the whole circuit, which the sentence shows; empty without any number. */
  faithfulness(side, uncut) {
    const { scene, choice } = this.view, curve = scene.panels[side].curve;
    if (!curve?.length || choice.step !== null) return "";
    const size = uncut ? scene.panels[side].edges : choice.allowed(side);
    const [n, value] = curve.reduce((best, point) => (Math.abs(Math.log(point[0] / size)) < Math.abs(Math.log(best[0] / size)) ? point : best));
    if (n === size) return `faithfulness ${value.toFixed(2)}`;
    if (Math.max(n / size, size / n) > NEARBY) return "faithfulness at this cut not measured: see “Put to the test”";
    return `faithfulness ${value.toFixed(2)} measured at ${n.toLocaleString("en")} edges`;
  }

  find() {
    const { view } = this, query = this.search.value.trim().toLowerCase();
    const nodes = view.scene.nodes.filter((node) => !node.folded); // an MLP of a closed lane too: pinned, it opens
    const exact = nodes.filter((node) => ` ${node.search} `.includes(` ${query} `));
    const matches = exact.length ? exact : nodes.filter((node) => node.search.includes(query));
    view.found = query ? matches.map((node) => node.id) : [];
    view.light();
    if (!query) return this.describe();
    const some = matches.slice(0, 6).map((node) => node.name).join("; ");
    this.say(matches.length ? `${matches.length} found: ${some}. Enter pins.` : `No node matches “${query}”.`);
  }

  pinFound() {
    const { view } = this, found = view.found.slice(0, view.scene.maxPins);
    if (!found.length) return;
    view.found = [];
    this.search.value = "";
    view.last = found.at(-1);
    view.pin([...view.pinned.filter((id) => !found.includes(id)), ...found]);
    view.reveal(found[0]);
    if (found.length === 1) view.panels[0].focus(found[0]);
    else this.search.blur();
  }
}
