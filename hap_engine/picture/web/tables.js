/* The tables under the picture: the same edges and heads as text, sortable and filterable, tied to the
   picture both ways. They are also the equivalent of the picture for readers who cannot see it. */

const ROWS = 100; // rows that are written at once

class Tables {
  constructor(view) {
    this.view = view;
    this.box = view.root.querySelector(".hap-tables");
    this.body = this.box.querySelector(".hap-table-body");
    this.filter = this.box.querySelector("input");
    this.where = this.box.querySelector("select");
    this.more = this.box.querySelector('[data-do="more"]');
    this.tab = "edges";
    this.sort = { key: null, up: true };
    this.count = ROWS;
    const on = (target, type, action) => target.addEventListener(type, action, { signal: view.abort.signal });
    on(this.box, "toggle", () => this.draw());
    for (const input of [this.filter, this.where]) on(input, "input", () => this.draw(ROWS));
    on(this.body, "click", (event) => this.press(event.target.closest("tr, th")));
    on(this.body, "pointerover", (event) => this.hover(event.target.closest("tr")));
    on(this.body, "pointerleave", () => this.view.hover({}));
  }

  /** The columns of the shown tab: title, value (to sort by), text. */
  columns() {
    const { scene } = this.view, { edges, nodes, readers, panels } = scene;
    const number = (values, text = (v) => v.toLocaleString("en")) => [(i) => values[i], (i) => (values[i] === null ? "" : text(values[i]))];
    const flag = (side) => [(i) => (edges[side][i] ? 0 : 1), (i) => (edges[side][i] ? `✓ ${edges[side][i].toLocaleString("en")}` : "")];
    if (this.tab === "edges")
      return [
        ["From", (i) => edges.writer[i], (i) => nodes[edges.writer[i]].id],
        ["To", (i) => edges.reader[i], (i) => readers[edges.reader[i]].name],
        [panels.left.short, ...flag("left")],
        [panels.right.short, ...flag("right")],
        ["EAP score", ...number(edges.score, (v) => v.toPrecision(3))],
        ["EAP rank", ...number(edges.rank)],
        ["Gate", ...number(edges.gate, (v) => v.toFixed(1))],
        ...(edges.seeds ? [["Searches", ...number(edges.seeds, (v) => `${Math.round(100 * v)} %`)]] : []),
      ];
    const kept = (side) => (i) => nodes[i].status === "both" || nodes[i].status === side;
    const touching = (side) => (i) => this.view.touching[i].filter((edge) => edges[side][edge]).length;
    const shown = (side) => [(i) => -touching(side)(i), (i) => `${kept(side)(i) ? "✓ " : ""}${touching(side)(i) || ""}`];
    return [
      ["Node", (i) => i, (i) => nodes[i].id],
      ["Role", (i) => nodes[i].label ?? "~", (i) => nodes[i].label ?? ""],
      [`Edges in ${panels.left.short}`, ...shown("left")],
      [`Edges in ${panels.right.short}`, ...shown("right")],
      ["Details", (i) => nodes[i].lines.length, (i) => nodes[i].lines.slice(1).join(" · ")],
    ];
  }

  /** Rows of the tab that pass the filter, sorted. */
  rows() {
    const { scene, choice } = this.view, { edges, nodes, readers } = scene;
    const words = this.filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const where = this.where.value;
    const status = this.tab === "edges" ? (i) => STATUS[edges.status[i]] : (i) => nodes[i].status;
    const text = this.tab === "edges"
      ? (i) => `${nodes[edges.writer[i]].search} ${readers[edges.reader[i]].name} ${readers[edges.reader[i]].nodes.map((n) => nodes[n].search).join(" ")}`.toLowerCase()
      : (i) => nodes[i].search;
    const all = this.tab === "edges" ? choice.shown.union : [...nodes.keys()].filter((i) => nodes[i].status !== "none");
    const found = all.filter((i) => (where === "all" || (where === "different" ? status(i) !== "both" : status(i) === where)) &&
      words.every((word) => text(i).includes(word)));
    const column = this.columns()[this.sort.key ?? -1];
    if (!column) return found;
    const sign = this.sort.up ? 1 : -1;
    const value = (i) => column[1](i) ?? (this.sort.up ? Infinity : -Infinity); // empty cells stay last
    return found.sort((a, b) => { const x = value(a), y = value(b); return x < y ? -sign : x > y ? sign : a - b; });
  }

  draw(count = this.count) {
    this.count = count;
    if (!this.box.open || !this.view.scene) return;
    const columns = this.columns(), rows = this.rows();
    const head = html("tr", {}, ...columns.map(([title], key) => {
      const sorted = this.sort.key === key ? (this.sort.up ? "ascending" : "descending") : "none";
      return html("th", { scope: "col", "aria-sort": sorted, "data-key": key }, html("button", { type: "button" }, title));
    }));
    const body = rows.slice(0, count).map((i) =>
      html("tr", { "data-row": i, tabindex: -1, "aria-selected": this.chosen(i) },
        ...columns.map(([, , text], key) => key ? html("td", {}, text(i)) : html("th", { scope: "row" }, html("button", { type: "button" }, text(i))))));
    this.body.replaceChildren(html("table", { "data-kind": this.tab }, html("thead", {}, head), html("tbody", {}, ...body)));
    this.box.querySelector(".hap-found").textContent = `${rows.length.toLocaleString("en")} ${this.tab === "edges" ? "edges" : "nodes"}`;
    this.more.hidden = rows.length <= count;
    this.names();
    for (const button of this.box.querySelectorAll("[data-tab]"))
      button.setAttribute("aria-pressed", button.dataset.tab === this.tab);
  }

  names() {
    const { panels } = this.view.scene;
    for (const side of ["left", "right"])
      this.where.querySelector(`[value=${side}]`).textContent = `only ${panels[side].short}`;
  }

  chosen(i) {
    const { edge, pinned, scene } = this.view;
    return this.tab === "edges" ? edge === i : pinned.includes(scene.nodes[i].id);
  }

  /** The picture changed what is pinned or selected: show it here. */
  mark() {
    if (!this.box.open) return;
    for (const row of this.body.querySelectorAll("tr[data-row]")) row.setAttribute("aria-selected", this.chosen(Number(row.dataset.row)));
    this.body.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }

  press(target) {
    if (!target) return;
    if (target.dataset.key) {
      const key = Number(target.dataset.key);
      this.sort = { key, up: this.sort.key === key ? !this.sort.up : true };
      return this.draw();
    }
    const row = target.closest("tr[data-row]");
    if (!row) return;
    const i = Number(row.dataset.row);
    if (this.tab === "edges") this.view.select(i);
    else this.view.toggle(this.view.scene.nodes[i].id);
  }

  hover(row) {
    if (!row?.dataset.row) return;
    const i = Number(row.dataset.row);
    this.view.hover(this.tab === "edges" ? { edge: i } : { node: this.view.scene.nodes[i].id });
  }

  open(tab) {
    this.tab = tab;
    this.sort = { key: null, up: true };
    this.draw(ROWS);
  }
}
