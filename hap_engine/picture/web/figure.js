/* The Plotly picture of one panel: nodes, their names and rings, the residual stream and the axes.

   Edges are not among its traces. Plotly needs 200 ms and more to draw 2,000 lines again and cannot
   tell which of them is under the pointer; layer.js draws them, beneath this picture, within a frame.
   Only a picture that is saved gets its edges as traces (`edgeTraces`). */

const FONT = "system-ui, 'Segoe UI', 'Source Sans', 'Liberation Sans', sans-serif";
const READABLE = { labels: [26, 13], ports: [46, 20] }; // size of a head from which texts show

const ROLE_NAME = 46; // pixels between heads from which a role is written with the head's number

const fits = (name, { width, height }) => width >= READABLE[name][0] && height >= READABLE[name][1];
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

const above = ({ box: [x, y, , half] }, frame, pixels) => [x, y + half + pixels / frame.sy];

/** All traces of a panel. `status(i)` is the colour name of a node, or null for a ghost. */
function nodeTraces(panel) {
  const { scene, colours } = panel.view;
  const frame = panel.home(); // sizes in pixels are those of the whole picture
  const nodes = scene.nodes.map((node, i) => ({ ...node, status: panel.status(i), other: panel.elsewhere(i), lacking: panel.lacks(i) }));
  const open = nodes.filter((node) => !node.hidden);
  const of = (status) => open.filter((node) => node.status === status);
  const ghosts = of(null), kept = open.filter((node) => node.status);
  const faint = ghosts.filter((node) => !node.other), missing = ghosts.filter((node) => node.other);
  const halo = [1, 2, 3].map(() => `0 0 3px ${colours.background}`).join(", ");
  const [stream, low, high] = scene.stream;
  const ring = (members, dash, name) =>
    lines(members.flatMap((node) => [3.5, 8].map((grow) => outline(node, frame, grow))),
      { width: 2.2, color: colours.s_inhibition, dash }, { name });
  const ringed = open.filter((node) => node.ring && (node.status || node.lacking));
  const named = open.filter((node) => node.mark && (node.status || (node.ring && node.lacking)));
  const inside = kept.filter((node) => node.kind === "head" || node.kind === "mlp");
  const bars = open.filter((node) => node.kind === "input" || node.kind === "logits");
  const head = open.find((node) => node.kind === "head");
  const readable = head ? fits("labels", panel.frame.box(head.box)) : false;
  const roomy = panel.frame.sx > ROLE_NAME;
  const beside = (node) => ringed.some((other) =>
    other !== node && other.layer === node.layer && Math.abs(other.box[0] - node.box[0]) < 2);
  const written = (node) => roomy || (node.ring && !beside(node)); // else the mark alone: names would run into each other
  const role = (members, text) =>
    texts(members.map((node) => above(node, frame, node.ring ? 10 : 2)), members.map(text),
      { size: 12, weight: 700, color: members.map((node) => colours[node.colour]), shadow: halo },
      { textposition: "top center", name: "roles" });
  return [
    lines([[[stream, low], [stream, high]]], { width: 5, color: colours.text }, { opacity: 0.1, name: "residual stream" }),
    ...bandTraces(scene, colours, halo),
    lines(faint.map((node) => outline(node, frame)), { width: 1, color: colours.text }, { opacity: 0.18, name: "ghosts" }),
    lines(missing.map((node) => outline(node, frame)), { width: 1.2, color: colours[panel.other], dash: "3px,2px" },
      { opacity: 0.75, name: "kept elsewhere" }),
    ...["both", "left", "right"].map((status) =>
      lines(of(status).map((node) => outline(node, frame)), { width: 1, color: colours.background },
        { fill: "toself", fillcolor: colours[status], name: `nodes: ${status}` })),
    ring(ringed.filter((node) => node.status), "solid", "S-inhibition"),
    ring(ringed.filter((node) => !node.status), "2px,3px", "S-inhibition, missed"),
    texts(inside.map((node) => node.box), inside.map((node) => node.short),
      { size: 11, color: colours.background }, { name: "labels", visible: readable }),
    role(named.filter(written), (node) => `${node.mark} ${node.short}`),
    role(named.filter((node) => !written(node)), (node) => node.mark),
    texts(panel.readers().map(({ port }) => port), panel.readers().map(({ slot }) => slot), { size: 11, color: colours.text, shadow: halo },
      { textposition: "bottom center", name: "ports", visible: panel.view.ports || (head ? fits("ports", panel.frame.box(head.box)) : false) }),
    texts(bars.map((node) => node.box), bars.map((node) => node.short), { size: 11, color: colours.background }, { name: "bars" }),
  ];
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
    return lines(shapes, { width, color: colours[status], dash: status === "left" ? "5px,3px" : "solid" }, { opacity });
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
