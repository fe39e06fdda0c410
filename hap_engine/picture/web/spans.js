/* The circuit at the spans of the prompts, for a run whose edges act at spans: computed, not read off attention.

   A column per span, a row per head (and per MLP, while these are drawn). A box stands where a head's output is read, so a
   head may have several. A line into a query or an MLP runs up the right of its column to the box there; one into keys and
   values up the left, to the row of its reader, from where an arrow leads to each box that sees that span. What a circuit
   lacks is struck out: a head with a slope, a box of a head that it keeps elsewhere with a level line. */

const ROOM = [[10, 16], [10, 8], [6, 5], [3, 3]]; // around a box's text, and beside the box: the fewer, the more spans
const SPANS = { line: 14, lines: 3, name: 16, empty: 26 };

class Spans extends Sentence {
  get spans() { return this.view.scene.spans; }
  get end() { return this.spans.names.length - 1; }
  get where() { return "at the spans"; }

  /** Boxes of a circuit, by its places of edges: each a writer and the span at which it is read. */
  boxes(places) {
    const { edges, readers } = this.view.scene, found = new Set();
    edges.writer.forEach((writer, i) => places[i] && found.add(writer * this.spans.names.length + readers[edges.reader[i]].span));
    return found;
  }

  /** Spans from which a circuit's heads take keys and values, by head. */
  sources(places) {
    const { edges, readers } = this.view.scene, found = new Map();
    edges.reader.forEach((reader, i) => {
      const { slot, span, nodes } = readers[reader];
      if (!places[i] || (slot !== "k" && slot !== "v")) return;
      for (const node of nodes) found.set(node, (found.get(node) ?? new Set()).add(span));
    });
    return found;
  }

  /** Boxes of what is drawn, at this size or at the run's own; rows of what has one at any size, so that a slider moves none. */
  heads() {
    const { scene: { nodes, edges, sentence }, pinned, index, choice, atSizes } = this.view, { names, sees } = this.spans;
    const own = atSizes.data ? atSizes.whole.edges : edges;
    this.kept = Object.fromEntries(SIDES.map((side) => [side, this.boxes(edges[side])]));
    this.from = Object.fromEntries(SIDES.map((side) => [side, this.sources(edges[side])]));
    const all = new Set([...this.kept.left, ...this.kept.right, ...this.boxes(own.left), ...this.boxes(own.right)]);
    const wanted = new Set([...sentence.first, ...pinned.map((id) => index.get(id))]);
    const drawn = ({ kind }, i) => (kind === "mlp" ? choice.lane : kind === "head" && wanted.has(i)) && (!choice.only || choice.only.has(i));
    const found = [...all].map((key) => ({ i: Math.floor(key / names.length), query: key % names.length, key }))
      .filter(({ i }) => drawn(nodes[i], i))
      .map((box) => ({ ...box, node: nodes[box.i], at: `${nodes[box.i].id}@${names[box.query]}` }))
      .sort((a, b) => a.i - b.i || a.query - b.query);
    const rows = [...new Set(edges.writer)].filter((i) => drawn(nodes[i], i)).sort((a, b) => a - b); // of any size
    for (const box of found) {
      const status = this.status(box), side = status ? this.panel.side : this.panel.other;
      const sources = this.panel.joint ? SIDES.map((one) => this.from[one].get(box.i)) : [this.from[side].get(box.i)];
      const keys = [...new Set(sources.flatMap((one) => [...(one ?? [])]))].filter((key) => key !== box.query && sees[box.query].includes(key));
      box.row = rows.indexOf(box.i);
      box.looks = keys.sort((a, b) => a - b).map((key) => ({ key, weight: this.share(box, key) ?? 0.2 }));
    }
    return [found, rows.length];
  }

  /** How much of its attention from a box's span a head gives to another, where the run says so. */
  share({ node, query }, key) { return this.spans.between[node.id]?.[query][key]; }

  status({ key }) {
    const [left, right] = SIDES.map((side) => this.kept[side].has(key));
    if (!this.panel.joint && !this.kept[this.panel.side].has(key)) return null;
    return left && right ? "both" : left ? "left" : right ? "right" : null;
  }

  missing({ key }) { return this.kept[this.panel.other].has(key) ? this.panel.other : "muted"; }

  /** The spans at which a side keeps a node. */
  places(side, i) {
    const { scene: { edges, readers }, touching } = this.view, { names } = this.spans;
    const read = new Set(touching[i].filter((e) => edges.writer[e] === i && edges[side][e]).map((e) => readers[edges.reader[e]].span));
    return names.filter((_, span) => read.has(span));
  }

  /** Whether this circuit keeps the head of a box that it lacks, at other spans. */
  elsewhere({ i }) { return !this.panel.joint && this.places(this.panel.side, i).length > 0; }

  /** A box that is struck out since its head stands elsewhere keeps the head's colour. */
  faded(box) { return this.elsewhere(box) ? this.view.colours[box.node.colour ?? "other"] : super.faded(box); }

  strike(box) { return this.elsewhere(box) ? `M${box.x - this.wide / 2},${box.y}h${this.wide}` : super.strike(box); }

  called(box) { return `${labelled(box.node)} at ${this.spans.names[box.query]}: ${this.keeping(box)}`; }

  /** Which circuit keeps a box, in words. */
  keeping({ i, key, query }) {
    const { panels } = this.view.scene;
    return SIDES.map((side) => {
      const at = this.places(side, i), here = this.kept[side].has(key);
      return `${panels[side].short} ${here ? "keeps it here" : at.length ? `keeps it at ${at.join(", ")}, not at ${this.spans.names[query]}` : "does not keep it"}`;
    }).join(", ");
  }

  said(box) {
    const { names } = this.spans, from = box.looks.map(({ key }) => {
      const share = this.share(box, key);
      return `${names[key]}${share === undefined ? "" : ` (attention ${share.toFixed(2)})`}`;
    });
    return [`At ${names[box.query]}: ${this.keeping(box)}`, ...(from.length ? [`There it takes keys and values from ${from.join(", ")}`] : [])];
  }

  columns(heads, room) {
    const { names } = this.spans, { tokens, spans } = this.prompt, full = new Set(heads.map(({ query }) => query));
    const looked = new Set(heads.flatMap(({ looks }) => looks.map(({ key }) => key)));
    const text = Math.max(34, ...heads.map(({ node }) => this.width(labelled(node))));
    const least = (i) => Math.max(this.width(names[i]) + 6, full.has(i) ? this.wide + 2 * this.lane : looked.has(i) ? SPANS.empty : 0);
    const step = ROOM.findIndex(([around, lane]) => {
      Object.assign(this, { wide: text + around, lane });
      return names.reduce((sum, _, i) => sum + least(i), 0) <= room;
    });
    const widths = names.map((_, i) => least(i)), spare = Math.max(0, room - widths.reduce((a, b) => a + b, 0)) / names.length;
    let x = SENTENCE.left;
    return names.map((name, i) => {
      const width = widths[i] + (step < 0 ? 0 : spare), words = pieces(tokens, spans, i), column = { first: i, last: i, width, x: x + width / 2, role: name };
      x += width;
      return { ...column, met: full.has(i) || looked.has(i), title: words, lines: this.broken(words, width - 4) };
    });
  }

  /** A text in as many lines as there is room for; what is left out is three dots. */
  broken(text, width) {
    const lines = [], fits = (one) => this.width(one) <= width;
    const cut = (word) => {
      let end = word.length;
      if (!fits(word)) while (end > 1 && !fits(`${word.slice(0, end)}…`)) end--;
      return end < word.length ? `${word.slice(0, end)}…` : word;
    };
    for (const word of text.split(" ").filter(Boolean).map(cut)) {
      const longer = `${lines.at(-1)} ${word}`;
      if (lines.length && fits(longer)) lines[lines.length - 1] = longer;
      else if (lines.length < SPANS.lines) lines.push(word);
      else return [...lines.slice(0, -1), "…"];
    }
    return lines;
  }

  footing(columns) { return SPANS.name + SPANS.line * Math.max(1, ...columns.map(({ lines }) => lines.length)) + 8; }

  /** The line of every span. */
  lanes(columns) {
    const { colours } = this.view;
    return columns.map(({ x }) => make("path", { d: `M${x},${this.base}V${SENTENCE.top}`, stroke: colours.muted, "stroke-opacity": 0.3, "stroke-dasharray": "1 4" }));
  }

  edges(heads) {
    const { scene: { edges, readers, nodes }, choice } = this.view, { sees } = this.spans, found = [], top = SENTENCE.top - 16;
    const here = heads.filter(({ status }) => status), at = new Map(here.map((box) => [box.key, box])), count = this.spans.names.length;
    for (const i of choice.whole(this.panel.joint ? "union" : this.panel.side)) {
      const writer = edges.writer[i], { slot, span, nodes: fed } = readers[edges.reader[i]], from = at.get(writer * count + span);
      if (!from && nodes[writer].kind !== "input") continue;
      for (const target of fed) {
        const keys = slot === "k" || slot === "v", out = nodes[target].kind === "logits", own = at.get(target * count + span);
        const head = keys ? here.find((box) => box.i === target && sees[box.query].includes(span)) : own;
        const x = this.x.get(span) - (own ? this.wide / 2 : 0); // where a line into keys and values ends
        if (head || (out && from)) found.push({ i, from, head, slot, at: span, y: head ? head.y : top, x });
      }
    }
    return found;
  }

  token({ x, title, role, lines, met }) {
    const { colours } = this.view, group = make("g", { class: "hap-token" });
    group.append(make("title", {}, `${role}: ${title}`), make("text", { x, y: this.base + SPANS.name - 2, fill: met ? colours.text : colours.muted, class: "hap-met" }, role));
    lines.forEach((line, n) => group.append(make("text", { x, y: this.base + SPANS.name + SPANS.line * (n + 1) - 1, fill: colours.muted, class: "hap-place" }, line)));
    return group;
  }
}

/** The words of a prompt that lie in a span; dots between those that do not follow each other. */
function pieces(tokens, spans, span) {
  const gap = tokens.some((token) => /^\s/.test(token)) ? "" : " "; // some models' tokens are words without their spaces
  return tokens.map((token, i) => (spans[i] !== span ? "" : `${i && spans[i - 1] !== span && spans.indexOf(span) < i ? " … " : gap}${token}`)).join("").replace(/\s+/g, " ").trim();
}
