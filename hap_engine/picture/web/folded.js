/* The circuit folded by role (groups.py): one box per role, one arrow per bundle of edges, its width
   and number the edges that this panel's circuit keeps. Clicking a box pins its heads. */

const BOX = { width: 190, height: 40 };
const BESIDE = ["other heads", "MLPs"]; // what has no role: its bundles stay faint until pointed at

class Folded {
  constructor(panel, canvas) {
    this.panel = panel;
    this.svg = make("svg", { class: "hap-folded", role: "group" });
    canvas.append(this.svg);
    const on = (type, action) => this.svg.addEventListener(type, action, { signal: panel.view.abort.signal });
    const group = ({ target }) => target.closest?.("[data-group]")?.dataset.group ?? null;
    on("pointerover", (event) => this.focus(group(event)));
    on("pointerout", () => this.focus(null));
    on("focusin", (event) => this.focus(group(event)));
    on("focusout", () => this.focus(null));
    on("click", (event) => this.pin(group(event)));
    on("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      this.pin(group(event));
      event.preventDefault();
    });
  }

  get side() { return this.panel.side; }
  get kept() { return this.side === "left" ? "kept_left" : "kept_right"; }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    if (!width) return;
    const { scene, choice } = this.panel.view, { panels } = scene, folded = choice.only ? refolded(scene, scene.folded, (i) => choice.inside(i)) : scene.folded;
    const box = { width: Math.min(BOX.width, width * 0.31), height: BOX.height };
    const top = Math.max(...folded.groups.map(({ y }) => y)) || 1;
    const rise = height - box.height - 40;
    this.places = new Map(folded.groups.map((group) => [group.id, {
      x: width / 2 + group.x * (width / 2 - box.width / 2 - 12), y: height - 20 - box.height / 2 - (group.y / top) * rise,
    }]));
    this.svg.setAttribute("aria-label", `${panels[this.side].label}, folded by role`);
    const here = folded.bundles.filter((bundle) => bundle[this.side]).sort((a, b) => a[this.side] - b[this.side]);
    const weak = ({ source, target }) => BESIDE.includes(source) || BESIDE.includes(target);
    const most = (faint) => Math.max(1, ...here.filter((bundle) => weak(bundle) === faint).map((bundle) => bundle[this.side]));
    const [core, rest] = [most(false), most(true)];
    const drawn = [...here.filter(weak), ...here.filter((bundle) => !weak(bundle))].map((bundle) =>
      this.arrow(bundle, weak(bundle), Math.sqrt(bundle[this.side] / (weak(bundle) ? rest : core)), box));
    this.svg.replaceChildren(this.heads(), ...drawn, ...folded.groups.map((group) => this.box(group, box)));
  }

  heads() {
    const { colours } = this.panel.view, defs = make("defs");
    for (const status of ["both", "left", "right"]) {
      const marker = make("marker", { id: `hap-head-${this.side}-${status}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, orient: "auto", markerUnits: "userSpaceOnUse" });
      marker.append(make("path", { d: "M0,0L8,4L0,8Z", fill: colours[status] }));
      defs.append(marker);
    }
    return defs;
  }

  /** One bundle; `weight` from 0 to 1 is its size among its like. */
  arrow(bundle, weak, weight, box) {
    const { colours } = this.panel.view;
    const from = this.places.get(bundle.source), to = this.places.get(bundle.target);
    const count = bundle[this.side], status = bundle.left && bundle.right ? "both" : this.side;
    const rise = from.y - to.y, level = Math.abs(rise) < box.height;
    const side = Math.sign(to.x - from.x) || 1, up = Math.sign(rise);
    // From the top of one box to the bottom of the other, or downwards the reverse, on the other half
    // of the boxes; level ones run from side to side. Boxes of one column that are not neighbours are
    // joined around those between them.
    const half = box.height / 2, across = up * box.width * 0.16;
    const start = level ? [from.x + side * box.width / 2, from.y] : [from.x + across, from.y - up * half];
    const end = level ? [to.x - side * (box.width / 2 + 2), to.y] : [to.x + across, to.y + up * (half + 2)];
    const aligned = Math.abs(to.x - from.x) < box.width * 0.8 && Math.abs(rise) > 2.6 * box.height;
    const bow = aligned ? up * (box.width * 0.35 + 0.22 * Math.abs(rise)) : 0;
    const lean = level ? 0 : 0.4 * (start[1] - end[1]);
    const c1 = [start[0] + bow + (level ? side * 30 : 0), start[1] - lean];
    const c2 = [end[0] + bow - (level ? side * 30 : 0), end[1] + lean];
    const middle = [0, 1].map((k) => (start[k] + 3 * c1[k] + 3 * c2[k] + end[k]) / 8);
    const group = make("g", { class: "hap-bundle", "data-from": bundle.source, "data-to": bundle.target, "data-weak": weak });
    group.append(make("path", {
      d: `M${start}C${c1},${c2},${end}`, fill: "none", stroke: colours[status], "stroke-width": 1 + (weak ? 4 : 5) * weight,
      "stroke-dasharray": DASH[status] ?? "none", "marker-end": `url(#hap-head-${this.side}-${status})`,
    }));
    group.append(make("text", { x: middle[0], y: middle[1] + 4, fill: colours.text, stroke: colours.background }, count.toLocaleString("en")));
    return group;
  }

  box(group, { width, height }) {
    const { colours, scene, index } = this.panel.view, { x, y } = this.places.get(group.id);
    const kept = group[this.kept], single = group.id === "input" || group.id === "logits";
    const names = group.members.map((id) => scene.nodes[index.get(id)].short);
    const fit = Math.floor((width - 12) / 6.2);
    const listed = kept.map((id) => scene.nodes[index.get(id)].short).join(" ");
    const { marks } = this.panel.layer.marked, off = group.members.filter((id) => marks?.nodes[id] === false).length;
    const second = (single ? "" : listed.length && listed.length <= fit ? listed : `${kept.length} of ${names.length} kept`) + (off ? ` · ✕ ${off} off` : "");
    const colour = single ? colours.both : colours[group.colour];
    const element = make("g", {
      class: "hap-group", "data-group": group.id, tabindex: 0, role: "button",
      "aria-label": single ? group.title : `${group.title}: ${kept.length} of ${names.length} kept. ${listed}`,
    });
    const missing = !kept.length && !single, inner = group.inner[this.side === "left" ? 0 : 1];
    element.append(
      make("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: 10, fill: colours.surface, stroke: colour, "stroke-width": 2, "stroke-dasharray": missing ? "4 3" : "none" }),
      make("title", {}, [group.title, names.join(", "), inner ? `${inner} edges among themselves` : ""].filter(Boolean).join("\n")),
    );
    const whole = make("g"); // the words lie outside the button, whose name says more
    whole.append(element, make("text", { x, y: y + (second ? -4 : 4), fill: single ? colours.text : colour, class: "hap-group-title", ...squeezed(group.title, width - 12) }, group.title));
    if (second) whole.append(make("text", { x, y: y + 13, fill: colours.text }, second));
    return whole;
  }

  focus(id) {
    this.svg.classList.toggle("hap-focused", id !== null);
    for (const bundle of this.svg.querySelectorAll(".hap-bundle"))
      bundle.classList.toggle("hap-on", id !== null && (bundle.dataset.from === id || bundle.dataset.to === id));
  }

  pin(id) {
    const { view } = this.panel, group = view.scene.folded.groups.find((one) => one.id === id);
    if (!group) return;
    const heads = [...new Set([...group[this.kept], ...group.members])].filter((name) => view.node(name).status !== "none");
    view.last = heads.slice(0, view.scene.maxPins).at(-1) ?? null;
    view.pin(heads.slice(0, view.scene.maxPins));
  }
}

/** A title that is too long for its box is set narrower, not cut. */
const squeezed = (text, width) => (text.length * 6.6 > width ? { textLength: width, lengthAdjust: "spacingAndGlyphs" } : {});
