/* The Plotly picture of one panel: nodes, their names and rings, the residual stream and the axes.

   Edges are not among its traces. Plotly needs 200 ms and more to draw 2,000 lines again and cannot
   tell which of them is under the pointer; layer.js draws them, beneath this picture, within a frame.
   Only a picture that is saved gets its edges as traces (`edgeTraces`). */

const FONT = "system-ui, 'Segoe UI', 'Source Sans', 'Liberation Sans', sans-serif";
const READABLE = { labels: [26, 13], ports: [46, 20] }; // size of a head from which texts show

const RING = 2.5; // around an S-inhibition head, in pixels
const QUIET = 0.3; // of a kept node none of whose edges is drawn
const fits = (name, { width, height }) => width >= READABLE[name][0] && height >= READABLE[name][1];
/** What is written inside a head or an MLP: its role's letter first, whatever fits. */
const written = (node, { width, height }) =>
  height < 10 ? "" : [labelled(node), node.mark, node.mark ? "" : node.short].find((text) => text && 6.6 * text.length + 4 <= width) ?? "";
const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

/** Lines or polygons as one trace, separated by gaps. */
function lines(shapes, line, rest = {}) {
  const x = [], y = [];
  for (const shape of shapes) {
    for (const [px, py] of shape) x.push(px), y.push(py);
    x.push(null), y.push(null);
  }
  return { type: "scatter", mode: "lines", x, y, line: { simplify: false, ...line }, hoverinfo: "skip", ...rest };
}

function texts(points, text, textfont, rest = {}) {
  return {
    type: "scatter", mode: "text", x: points.map(([x]) => x), y: points.map(([, y]) => y),
    text: text.map(escaped), textfont: { family: FONT, ...textfont }, hoverinfo: "skip", ...rest,
  };
}

/** What is written inside boxes, as much as fits at the zoom. */
const label = (panel, members, font, name) =>
  texts(members.map((node) => node.box), members.map((node) => written(node, panel.frame.box(node.box))), { size: 11, ...font }, { name, customdata: members.map(({ id }) => id) });

/** All traces of a panel. `status(i)` is the colour name of a node, or null for a ghost. */
function nodeTraces(panel) {
  const { scene, colours } = panel.view;
  const frame = panel.home(); // sizes in pixels are those of the whole picture
  const nodes = scene.nodes.map((node, i) => ({ ...node, status: panel.status(i), other: panel.elsewhere(i), lacking: panel.lacks(i), quiet: panel.quiet(i) }));
  const open = nodes.filter((node) => !node.hidden);
  const of = (status, quiet) => open.filter((node) => node.status === status && node.quiet === quiet);
  const ghosts = open.filter((node) => !node.status), kept = open.filter((node) => node.status);
  const faint = ghosts.filter((node) => !node.other), missing = ghosts.filter((node) => node.other);
  const halo = [1, 2, 3].map(() => `0 0 3px ${colours.background}`).join(", ");
  const [stream, low, high] = scene.stream;
  const ring = (members, dash, name) =>
    lines(members.map((node) => outline(node, frame, RING)),
      { width: 2.5, color: colours.s_inhibition, dash }, { name });
  const ringed = open.filter((node) => node.ring && (node.status || node.lacking));
  const inside = kept.filter((node) => node.kind === "head" || node.kind === "mlp");
  const bars = open.filter((node) => node.kind === "input" || node.kind === "logits");
  const head = open.find((node) => node.kind === "head");
  const missed = open.filter((node) => node.mark && !node.status);
  return [
    lines([[[stream, low], [stream, high]]], { width: 5, color: colours.text }, { opacity: 0.1, name: "residual stream" }),
    ...bandTraces(scene, colours, halo),
    lines(faint.map((node) => outline(node, frame)), { width: 1, color: colours.text }, { opacity: 0.18, name: "ghosts" }),
    lines(missing.map((node) => outline(node, frame)), { width: 1.2, color: colours[panel.other], dash: "3px,2px" },
      { opacity: 0.75, name: "kept elsewhere" }),
    ...[true, false].flatMap((quiet) => ["both", "left", "right"].map((status) =>
      lines(of(status, quiet).map((node) => outline(node, frame)), { width: 1, color: colours.background },
        { fill: "toself", fillcolor: colours[status], name: `nodes: ${status}`, opacity: quiet ? QUIET : 1 }))),
    ring(ringed.filter((node) => node.status), "solid", "S-inhibition"),
    ring(ringed.filter((node) => !node.status), "2px,3px", "S-inhibition, missed"),
    label(panel, inside, { color: inside.map(({ quiet }) => (quiet ? colours.other : colours.background)), weight: 600 }, "labels"),
    ...laneTraces(panel),
    label(panel, missed, { color: missed.map((node) => colours[node.colour]) }, "labels of missed heads"),
    texts(panel.readers().map(({ port }) => port), panel.readers().map(({ slot }) => slot), { size: 11, color: colours.text, shadow: halo },
      { textposition: "bottom center", name: "ports", visible: panel.view.ports || (head ? fits("ports", panel.frame.box(head.box)) : false) }),
    texts(bars.map((node) => node.box), bars.map((node) => node.short), { size: 11, color: colours.background }, { name: "bars" }),
  ];
}

/** The closed lane says what it holds. */
function laneTraces({ view: { scene, choice, colours } }) {
  const bars = scene.nodes.filter(({ kind, folded }) => kind === "mlp" && !folded), middle = bars[Math.floor(bars.length / 2)];
  return choice.lane || !middle ? [] : [texts([middle.box], ["MLPs"], { size: 12, color: colours.muted })];
}

function bandTraces({ bands, ranges }, colours, halo) {
  if (!bands.length) return [];
  const [left, right] = ranges;
  return [
    lines(bands.map(({ y }) => [[left, y], [right, y]]), { width: 1.5, color: colours.text, dash: "dot" }, { opacity: 0.18 }),
    texts(bands.map(({ y }) => [(left + right) / 2, y]), bands.map((band) => band.text), { size: 11, color: colours.muted, shadow: halo }),
  ];
}

/** The edges of a panel as traces, for a picture that leaves the page. */
function edgeTraces(panel) {
  const { scene, colours } = panel.view;
  return [...panel.buckets()].map(([key, edges]) => {
    const [status, step, faint] = key.split(" ");
    const [width, opacity] = panel.stroke(status, +step, faint);
    const { out, points } = sampled(scene.edges, scene.lift, 24);
    const shapes = edges.map((i) =>
      Array.from({ length: points }, (_, p) => [out[2 * (i * points + p)], out[2 * (i * points + p) + 1]]));
    return lines(shapes, { width, color: colours[status], dash: panel.dash(status) === "none" ? "solid" : "5px,3px" }, { opacity });
  });
}

function plotLayout(panel, range) {
  const { scene, colours } = panel.view;
  const axis = { showgrid: false, zeroline: false, ticks: "", tickfont: { size: 11, color: colours.muted } };
  const [x, y] = [scene.ticks.x, scene.ticks.y];
  return {
    font: { family: FONT, color: colours.text },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { ...MARGIN, pad: 0 },
    dragmode: "pan", hovermode: false, showlegend: false,
    xaxis: { ...axis, range: range.slice(0, 2), tickvals: x[0], ticktext: x[1] },
    yaxis: { ...axis, range: range.slice(2), tickvals: y[0], ticktext: y[1] },
  };
}
