/* The pruning as one SVG file that plays by itself: every candidate edge until its gate closes. For slides. */

const FILM = { width: 960, height: 540, head: 60, seconds: 8, still: 0.8 }; // the circuit that is left stands for the last fifth

/** Shown from one share of the time to another, again and again. */
function during(element, from, to) {
  const times = [...new Set([0, from, to].filter((share) => share < 1))], values = times.map((share) => (share >= from && share < to ? 1 : 0));
  element.append(make("animate", { attributeName: "opacity", values: values.join(";"), keyTimes: times.join(";"), calcMode: "discrete", dur: `${FILM.seconds}s`, repeatCount: "indefinite" }));
  return element;
}

/** The film of a replay as the text of an SVG file. */
function film({ scene, colours, choice }, { writer, nodes: fed, edge, last, steps, ...ends }) {
  const { width, height, head } = FILM, frame = new Frame(scene.ranges, width, height), final = steps.at(-1);
  const share = (step) => (step >= final ? 1 : (FILM.still * step) / final);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height + head}`, width, height: height + head, "font-family": FONT });
  const edges = make("g", { transform: `translate(0 ${head}) ${frame.matrix}`, fill: "none" }), places = [...last.keys()];
  for (const step of steps) {
    for (const kept of [false, true]) {
      const here = places.filter((i) => last[i] === step && edge[i] >= 0 === kept);
      if (!here.length) continue;
      const path = make("path", { d: here.map((i) => curve({ writer, ...ends }, i, scene.lift)).join(""), stroke: colours[kept ? "right" : "muted"], "stroke-width": kept ? 1.6 : 0.7, "stroke-opacity": kept ? 0.9 : 0.5, "vector-effect": "non-scaling-stroke" });
      edges.append(during(path, 0, share(step)));
    }
  }
  const used = new Set([...writer, ...fed.flat()]), boxes = make("g", { transform: `translate(0 ${head})` });
  for (const i of used) {
    const node = scene.nodes[i], box = frame.box(node.box), at = choice.member("right", i), text = node.kind === "head" || node.kind === "mlp" ? written(node, box) : node.short;
    boxes.append(make("rect", { ...box, rx: 2, fill: at ? colours[node.ring ? "s_inhibition" : "right"] : colours.surface, stroke: colours.muted, "stroke-width": 0.7 }));
    if (at || node.kind !== "head") boxes.append(make("text", { x: box.x + box.width / 2, y: box.y + box.height / 2 + 4, "font-size": 11, "text-anchor": "middle", fill: at ? colours.background : colours.text }, text));
  }
  const titles = steps.map((step, k) => {
    const open = places.filter((i) => last[i] >= step).length;
    const text = make("text", { x: 16, y: 38, "font-size": 20, "font-weight": 600, fill: colours.text }, `step ${step} of ${final} · ${open.toLocaleString("en")} edges open`);
    return during(text, k ? share(steps[k - 1]) : 0, share(step));
  });
  svg.append(make("rect", { width, height: height + head, fill: colours.background }), edges, boxes, ...titles);
  return new XMLSerializer().serializeToString(svg);
}

/** Hand a text to the browser's downloads. */
function download(text, type, name) {
  const link = html("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
