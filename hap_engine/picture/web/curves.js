/* Under the pictures: KL of every method against the edges that it keeps, on the slider's axis, and below
   it a strip a role: a line a head, which ends where a method loses it. A click or a drag moves the slider. */

const PLOT = { top: 12, height: 190, row: 17, heading: 20, foot: 22 };
const REST = ["mover", "repeat", "other"]; // colours of methods that neither panel shows
const COLUMNS_AT = [["kl", "KL", 3], ["faithfulness", "Faithfulness", 2], ["logit_diff", "Logit difference", 2], ["accuracy", "Accuracy", 2], ["exact_match", "Exact match", 2]];

class Curves {
  constructor(sizes) {
    this.sizes = sizes;
    const { box, view } = sizes;
    this.svg = box.querySelector(".hap-curves");
    this.tip = box.querySelector(".hap-tip");
    this.table = box.querySelector(".hap-at-size");
    const on = (type, action) => this.svg.addEventListener(type, action, { signal: view.abort.signal });
    on("pointerdown", (event) => {
      this.svg.setPointerCapture(event.pointerId);
      this.dragged = true;
      this.follow(event);
      event.preventDefault();
    });
    on("pointermove", (event) => (this.dragged ? this.follow(event) : this.hover(event)));
    for (const type of ["pointerup", "pointercancel"]) on(type, () => {
      if (this.dragged) sizes.release();
      this.dragged = false;
    });
    on("pointerleave", () => this.hover(null));
    new ResizeObserver(() => this.sizes.data && this.draw()).observe(this.svg);
  }

  follow(event) {
    this.hover(null);
    this.sizes.show(this.sizes.at(this.place(event)));
  }

  /** Where the pointer is on the scale. */
  place({ clientX }) {
    return (clientX - this.svg.getBoundingClientRect().left - this.left) / this.width;
  }

  x(size) {
    return this.left + this.width * this.sizes.place(size);
  }

  /** All of it; only the line at the size moves between two calls. */
  draw() {
    const { input, data, view } = this.sizes, { colours } = view;
    const track = input.getBoundingClientRect(), own = this.svg.getBoundingClientRect();
    if (!track.width || !colours) return;
    this.left = track.left - own.left + 8; // half a thumb
    this.width = track.width - 16;
    const { curves, lives, grid, empty } = data;
    const shown = curves.filter(({ look }) => look !== "control");
    const highest = Math.max(0.1, ...shown.flatMap(({ kl, interval }) => [...kl, ...interval.map((band) => band?.[1] ?? 0)]).filter(Number.isFinite), empty ?? 0);
    this.top = empty ? Math.min(highest, 1.3 * empty) : highest;
    const foot = PLOT.top + PLOT.height;
    const roles = [...new Set(lives.map(({ role }) => role))];
    const height = foot + PLOT.foot + lives.length * PLOT.row + roles.length * PLOT.heading + 8;
    this.svg.setAttribute("height", height);
    this.lines = [];
    let y = foot + PLOT.foot;
    const strips = roles.flatMap((role) => {
      y += PLOT.heading;
      const title = make("text", { x: 0, y: y - 6, class: "hap-strip" }, role);
      return [title, ...lives.filter((life) => life.role === role).flatMap((life) => {
        this.lines.push({ life, y: (y += PLOT.row) - PLOT.row / 2 });
        return this.life(life, y - PLOT.row / 2, grid);
      })];
    });
    const marks = legible(grid, (size) => this.x(size), data.own);
    this.line = make("line", { class: "hap-here", y1: PLOT.top - 6, y2: height - 4 });
    this.svg.replaceChildren(
      ...grid.map((size) => make("line", { class: "hap-grid", x1: this.x(size), x2: this.x(size), y1: PLOT.top, y2: height - 8 })),
      ...ticks(this.top).flatMap((kl) => [
        make("line", { class: "hap-grid", x1: this.left, x2: this.left + this.width, y1: this.y(kl), y2: this.y(kl) }),
        make("text", { x: this.left - 8, y: this.y(kl) + 4, "text-anchor": "end" }, kl),
      ]),
      make("text", { x: 0, y: PLOT.top + 8, class: "hap-strip" }, "KL"),
      ...(empty ? [make("line", { class: "hap-empty", x1: this.left, x2: this.left + this.width, y1: this.y(empty), y2: this.y(empty) }),
        make("text", { x: this.left + 4, y: this.y(empty) - 4 }, "everything corrupted")] : []),
      ...marks.map((size) => make("text", { x: this.x(size), y: foot + 15, "text-anchor": size === grid.at(-1) ? "end" : "middle" }, share(size, data.total))),
      ...[...curves.keys()].sort((a, b) => !!curves[a].side - !!curves[b].side).flatMap((i) => this.curve(curves[i], i)), ...strips, this.line);
    const named = shown.map(({ title }) => title).join(", ");
    this.svg.setAttribute("aria-label", `KL against the edges kept, for ${named}. The table below has the numbers at the chosen size.`);
    this.mark();
  }

  y(kl) {
    return PLOT.top + PLOT.height * (1 - Math.min(1, Math.max(0, kl / this.top)));
  }

  /** Colour and dash of a curve: of its panel, where it has one. */
  look({ side, look }, i) {
    const { curves } = this.sizes.data, { colours } = this.sizes.view;
    if (look === "control") return [colours.muted, "1 4"];
    if (side) return [colours[side], side === "left" ? "7 4" : ""];
    const rest = curves.filter((other) => !other.side && other.look !== "control").indexOf(curves[i]);
    return [colours[REST[rest % REST.length]], "2 3"];
  }

  curve(curve, i) {
    const [stroke, dash] = this.look(curve, i), { sizes, kl, interval } = curve;
    const points = sizes.map((size, at) => [this.x(size), kl[at] === null ? null : this.y(kl[at])]).filter(([, y]) => y !== null);
    const dots = (r, opacity) => points.map(([cx, cy]) => make("circle", { cx, cy, r, fill: stroke, opacity }));
    if (curve.look === "dots") return dots(2, 0.45);
    const bands = sizes.map((size, at) => [this.x(size), interval[at]]).filter(([, band]) => band);
    const around = [...bands.map(([x, [low]]) => [x, this.y(low)]), ...bands.reverse().map(([x, [, high]]) => [x, this.y(high)])];
    const thin = curve.look !== "line";
    return [
      ...(thin ? [] : [make("path", { class: "hap-band", d: path(around), fill: stroke })]),
      make("path", { class: "hap-curve", d: path(points), stroke, "stroke-dasharray": dash, "stroke-width": thin ? 1 : 2 }),
      ...(thin ? [] : dots(2.5, 1)),
    ];
  }

  /** A head: from the loosest size to the last that keeps it, the left panel's method above the right one's. */
  life(life, y, grid) {
    const { colours } = this.sizes.view;
    return [
      make("text", { x: this.left - 8, y: y + 4, "text-anchor": "end" }, life.head),
      ...SIDES.flatMap((side, i) => {
        const at = y + (i ? 3.5 : -3.5), end = life[side], last = grid.at(-1), x1 = this.left, fill = colours[side];
        if (!end) return [make("path", { d: `M${x1 - 3},${at - 3}l6,6m0,-6l-6,6`, stroke: fill, "stroke-width": 1.5 })];
        const x2 = this.x(Math.max(end, last));
        const tip = end > last ? make("circle", { cx: x2, cy: at, r: 3, fill }) : make("path", { d: `M${x2},${at - 4}l7,4l-7,4z`, fill });
        return [make("line", { x1, x2, y1: at, y2: at, stroke: fill, "stroke-width": 2, "stroke-dasharray": i ? "" : "7 4" }), tip];
      }),
    ];
  }

  /** The line at the slider's size, and the numbers there. */
  mark() {
    const { data, size } = this.sizes, here = size ?? data.own;
    if (!this.line) return;
    for (const end of ["x1", "x2"]) this.line.setAttribute(end, this.x(this.sizes.within(here)));
    const rows = data.curves.filter(({ look }) => look !== "thin").map((curve) => {
      const key = html("i", { class: "hap-key" }), [stroke, dash] = this.look(curve, data.curves.indexOf(curve));
      key.style.borderTop = `3px ${dash ? "dashed" : "solid"} ${stroke}`;
      const cells = COLUMNS_AT.map(([name, , digits]) => {
        const found = this.sizes.value(curve, name, here);
        return html("td", {}, found ? `${found.exact ? "" : "≈ "}${found.value.toFixed(digits)}` : "–");
      });
      const edges = curve.side && curve.look === "line" ? this.sizes.count(curve.side, here) : curve.n_live?.[curve.sizes.indexOf(here)];
      return html("tr", {}, html("th", { scope: "row" }, key, curve.title), html("td", {}, edges?.toLocaleString("en") ?? ""), ...cells);
    });
    const exact = this.sizes.exact(here);
    const head = html("tr", {}, ...["Method", "Edges", ...COLUMNS_AT.map(([, title]) => title)].map((title) => html("th", { scope: "col" }, title)));
    this.table.querySelector("table").replaceChildren(html("thead", {}, head), html("tbody", {}, ...rows));
    this.table.querySelector("span").textContent = data.note + " " + (exact
      ? `Measured on ${data.told}, with 95 % intervals over prompts.`
      : "≈ was not measured: it lies on the line between the two measured sizes around it.");
    const button = this.table.querySelector("button");
    button.hidden = exact || !this.sizes.view.measurable;
    button.textContent = `Measure at ${here.toLocaleString("en")} edges`;
  }

  /** What the pointer is over, read at its size. */
  hover(event) {
    const { data } = this.sizes;
    this.tip.hidden = !event || !data;
    if (this.tip.hidden) return;
    const size = this.sizes.at(this.place(event)), { top, left } = this.svg.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    const over = this.lines.find((line) => Math.abs(line.y - y) <= PLOT.row / 2);
    const { panels } = this.sizes.view.scene;
    const until = (side) => `${panels[side].short}: ${over.life[side] ? `kept down to ${over.life[side].toLocaleString("en")} edges (${share(over.life[side], data.total)} removed)` : "kept at none of these sizes"}`;
    const read = (curve) => {
      const found = curve.look === "line" && this.sizes.value(curve, "kl", size);
      return found ? [`${curve.title}: KL ${found.exact ? "" : "≈ "}${found.value.toFixed(3)}`] : [];
    };
    const lines = over ? [`${over.life.head}, ${over.life.role}`, ...SIDES.map(until)]
      : [`${size.toLocaleString("en")} edges, ${share(size, data.total)} removed`, ...data.curves.flatMap(read)];
    this.tip.replaceChildren(...lines.map((line) => html("span", {}, line)));
    const flip = x > this.svg.clientWidth / 2;
    Object.assign(this.tip.style, { top: `${this.svg.offsetTop + y + 12}px`, left: flip ? "" : `${x + 14}px`, right: flip ? `${this.svg.clientWidth - x + 14}px` : "" });
  }
}

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");
const share = (size, total) => `${Number((100 * (1 - size / total)).toPrecision(4))}%`;

/** Round numbers from 0 up to a value. */
function ticks(top) {
  const step = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10].find((one) => top / one <= 5) ?? 20;
  return Array.from({ length: Math.floor(top / step) + 1 }, (_, i) => Number((i * step).toFixed(2)));
}

/** The sizes whose labels do not run into each other; `first` is one of them. */
function legible(grid, x, first) {
  const taken = [];
  for (const size of [first, grid[0], grid.at(-1), ...grid])
    if (grid.includes(size) && taken.every((other) => Math.abs(x(other) - x(size)) > 46)) taken.push(size);
  return taken;
}
