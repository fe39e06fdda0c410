/* The reader's own words on a run: notes on heads, and groups of heads with a name. A group is one box in every view.

   The browser decides, and Python, where there is one, keeps it in the run file and in the address. */

const NOTE = 200, NAME = 40; // characters
const PAUSE = 800; // milliseconds

class Own {
  constructor(view) {
    this.view = view;
    this.notes = {}; // head -> text
    this.groups = {}; // name -> heads
    this.typed = new Map(); // head -> text that is not told yet: the drawer may be drawn anew under the hand
    for (const [type, after] of [["input", PAUSE], ["change", 0]])
      view.root.addEventListener(type, ({ target }) => target.dataset.note && this.type(target.dataset.note, target.value, after), { signal: view.abort.signal });
    view.root.addEventListener("submit", (event) => this.name(event), { signal: view.abort.signal });
  }

  /** What the page knows; true where the picture must be made anew. */
  receive({ heads = {}, groups = {} } = {}) {
    const same = JSON.stringify(groups) === JSON.stringify(this.groups);
    Object.assign(this, { notes: { ...heads }, groups: { ...groups } });
    return !same;
  }

  tell() {
    this.view.send("notes", { heads: this.notes, groups: this.groups });
  }

  /** What is typed is written after a pause, or when the field is left. */
  type(head, text, after) {
    this.typed.set(head, text);
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      for (const [at, words] of this.typed) this.write(at, words);
      this.typed.clear();
    }, after);
  }

  write(head, text) {
    const told = text.trim().slice(0, NOTE);
    if (told === (this.notes[head] ?? "")) return;
    if (told) this.notes[head] = told;
    else delete this.notes[head];
    this.tell();
  }

  /** The pinned heads become one box. */
  name(event) {
    event.preventDefault();
    const { view } = this, name = new FormData(event.target).get("name").trim().slice(0, NAME), heads = this.pinned();
    if (!name || heads.length < 2) return;
    for (const [other, members] of Object.entries(this.groups)) {
      const left = members.filter((head) => !heads.includes(head));
      if (left.length > 1) this.groups[other] = left;
      else delete this.groups[other];
    }
    this.groups[name] = heads;
    this.anew([`group:${name}`]);
  }

  part(name) {
    const heads = this.groups[name];
    delete this.groups[name];
    this.anew(heads);
  }

  anew(pins) {
    this.view.regroup(pins);
    this.tell();
  }

  /** Heads that are pinned, those of a pinned group among them. */
  pinned() {
    return [...new Set(this.view.pinned.flatMap((id) => this.members(id)))].filter((id) => this.view.node(id)?.kind === "head");
  }

  /** The heads that a box stands for. */
  members(id) {
    return this.groups[id.replace(/^group:/, "")] && id.startsWith("group:") ? this.groups[id.slice(6)] : [id];
  }

  /** Below a head in the drawer: the note on it. */
  note(node) {
    const area = html("textarea", { "data-note": node.id, maxlength: NOTE, rows: 2, "aria-label": this.view.lead.say("note", { head: node.short }), placeholder: this.view.lead.say("note", { head: node.short }) });
    area.value = this.typed.get(node.id) ?? this.notes[node.id] ?? "";
    return area;
  }

  /** A name for what is pinned together. */
  form() {
    const heads = this.pinned(), say = (name, values) => this.view.lead.say(name, values);
    if (heads.length < 2 || this.view.pinned.length < 2) return "";
    const label = say("group", { n: heads.length });
    return html("form", { class: "hap-naming" }, html("input", { name: "name", maxlength: NAME, required: "", "aria-label": label, placeholder: label, autocomplete: "off" }), html("button", {}, say("group_do")));
  }

  /** A group in the drawer. */
  group(node) {
    const { view } = this, name = node.id.slice(6);
    const chips = this.groups[name].map((id) => html("span", { class: "hap-badge" }, view.node(id).label ? `${view.node(id).short} (${view.node(id).label})` : view.node(id).short));
    return [html("p", {}, ...chips), html("button", { type: "button", "data-part": name }, view.lead.say("part"))];
  }
}

/** The scene with every group as one box, which stands before the logits; `to` says where each node went. */
function grouped(scene, groups) {
  const { nodes, edges, readers, sizes, sentence } = scene, place = new Map(nodes.map(({ id }, i) => [id, i])), made = [];
  const to = nodes.map((_, i) => i);
  for (const [name, heads] of Object.entries(groups)) {
    const members = heads.map((head) => place.get(head)).filter((i) => i !== undefined);
    if (members.length < 2) continue;
    for (const i of members) to[i] = nodes.length - 1 + made.length;
    made.push({ name, members: members.sort((a, b) => a - b) });
  }
  if (!made.length) return Object.assign(scene, { to });
  const logits = nodes.pop();
  to[nodes.length] += made.length;
  for (const { name, members } of made) nodes.push(joined(name, members.map((i) => nodes[i])));
  nodes.push(logits);
  for (const { members } of made) for (const i of members) Object.assign(nodes[i], { hidden: true, grouped: true });
  const slots = new Map(), [top, foot] = [1, -1].map((sign) => ({ box: [x, y, , half] }) => [x, y + sign * half]);
  const into = readers.map((reader, r) => {
    reader.nodes = [...new Set(reader.nodes.map((i) => to[i]))];
    const box = nodes[reader.nodes[0]], key = `${box.id}.${reader.slot}${reader.span === undefined ? "" : `@${scene.spans.names[reader.span]}`}`;
    if (reader.nodes.length > 1 || !box.members) return r;
    const [x, y] = foot(box);
    Object.assign(reader, { name: key, port: [x + { q: -0.5, k: 0, v: 0.5 }[reader.slot] * box.box[2], y], bracket: undefined });
    if (!slots.has(key)) slots.set(key, r);
    return slots.get(key);
  });
  edges.writer.forEach((writer, i) => {
    const from = (edges.writer[i] = to[writer]), reader = (edges.reader[i] = into[edges.reader[i]]), [target] = readers[reader].nodes;
    if (nodes[from].members) [edges.x0[i], edges.y0[i]] = top(nodes[from]);
    if (nodes[target].members) [edges.x1[i], edges.y1[i]] = readers[reader].port;
    if (from === target) Object.assign(edges.status, { [i]: 3 }) && (edges.left[i] = edges.right[i] = 0); // inside a group
  });
  for (const side of sizes ? SIDES : []) {
    const at = sizes[side].nodes, last = at.pop(), entered = ({ members }) => Math.min(...members.map((i) => at[i] || Infinity));
    at.push(...made.map((group) => (Number.isFinite(entered(group)) ? entered(group) : 0)), last);
    sizes[side].enters = sizes[side].enters.map((size, i) => (readers[edges.reader[i]].nodes[0] === edges.writer[i] ? 0 : size));
  }
  if (sentence) {
    sentence.first = [...new Set([...sentence.first.map((i) => to[i]), ...made.map((_, k) => nodes.length - 1 - made.length + k)])];
    for (const prompt of sentence.prompts) prompt.looks = strongest(prompt.looks.map(([i, ...look]) => [to[i], ...look]));
  }
  return Object.assign(scene, { to, folded: refolded(scene, withGroups(scene.folded, made, nodes)) });
}

/** One box for several heads: the circuits that keep any of them keep it. */
function joined(name, heads) {
  const has = (side) => heads.some(({ status }) => status === "both" || status === side), middle = heads[Math.floor(heads.length / 2)];
  const [{ role, label, mark, colour }] = heads, same = heads.every((head) => head.role === role) && role ? { role, label, mark, colour } : {};
  const told = `${name} (${heads.length} heads)`;
  return {
    ...same, id: `group:${name}`, kind: "head", layer: middle.layer, box: [...middle.box], name: told, short: name, ring: heads.some(({ ring }) => ring),
    search: [`group:${name} ${name}`, ...heads.map(({ search }) => search)].join(" ").toLowerCase(), lines: [told, heads.map(({ short }) => short).join(", ")],
    status: has("left") ? (has("right") ? "both" : "left") : has("right") ? "right" : "none", hidden: middle.hidden, members: heads.map(({ id }) => id),
  };
}

/** Of each head the look with the largest share. */
function strongest(looks) {
  const best = new Map();
  for (const look of looks) if (look[3] > (best.get(look[0])?.[3] ?? -1)) best.set(look[0], look);
  return [...best.values()];
}

/** The boxes by role without the heads of groups, and a box for each group. */
function withGroups({ groups, bundles }, made, nodes) {
  const taken = new Set(made.flatMap(({ members }) => members.map((i) => nodes[i].id))), top = Math.max(...groups.map(({ y }) => y));
  const left = groups.map((group) => ({ ...group, members: group.members.filter((id) => !taken.has(id)) })).filter(({ id, members }) => members.length || id === "input" || id === "logits");
  const taller = left.filter(({ x }) => x === -1).map(({ y }) => y); // of the left column, in which there is room
  const own = made.map(({ name }) => {
    let y = top - 0.8;
    while (taller.some((other) => Math.abs(other - y) < 0.8)) y -= 0.2;
    taller.push(y);
    const { colour = "other", id, mark = "" } = nodes.find((node) => node.id === `group:${name}`);
    return { id, title: name, mark, colour, members: [id], x: -1, y };
  });
  return { bundles, groups: [...left, ...own] };
}
