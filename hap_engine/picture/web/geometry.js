/* From the scene's data units to pixels: frames, curves, outlines, and what lies under the pointer. */

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { l: 34, r: 8, t: 6, b: 22 }; // around the plot area, in pixels
const STATUS = ["both", "left", "right", "none"];
const NEAR = 5; // pixels from an edge that still point at it

const make = (name, attributes = {}, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

/** An HTML element; texts only ever arrive as text. */
const html = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

/** A head's name with its role's letter. */
const labelled = ({ mark, short }) => (mark ? `${mark} ${short}` : short);

const grown = ({ x, y, width, height }, by) => ({
  x: x - by, y: y - by, width: width + 2 * by, height: height + 2 * by,
});

/** The part of the data that a plot area of some size shows: x from `range[0]` to `range[1]`, y from 2 to 3. */
class Frame {
  constructor(range, width, height) {
    Object.assign(this, { range, width, height });
    this.sx = width / (range[1] - range[0]);
    this.sy = height / (range[3] - range[2]);
  }

  x(value) { return (value - this.range[0]) * this.sx; }
  y(value) { return (this.range[3] - value) * this.sy; }

  /** Data coordinates of a pixel. */
  at(px, py) { return [this.range[0] + px / this.sx, this.range[3] - py / this.sy]; }

  /** The transform of a group whose children are written in data units. */
  get matrix() {
    return `matrix(${this.sx},0,0,${-this.sy},${-this.range[0] * this.sx},${this.range[3] * this.sy})`;
  }

  box([x, y, halfWidth, halfHeight]) {
    return {
      x: this.x(x - halfWidth), y: this.y(y + halfHeight),
      width: 2 * halfWidth * this.sx, height: 2 * halfHeight * this.sy,
    };
  }
}

/** The four control points of an edge's curve (see Layout.ends in layout.py). */
function controls({ x0, y0, x1, y1, bow }, i, lift) {
  const rise = lift * (y1[i] - y0[i]);
  return [x0[i], y0[i], x0[i] + bow[i], y0[i] + rise, x1[i] + bow[i], y1[i] - rise, x1[i], y1[i]];
}

function curve(edges, i, lift) {
  const [a, b, c, d, e, f, g, h] = controls(edges, i, lift).map((v) => Math.round(v * 1000) / 1000);
  return `M${a},${b}C${c},${d},${e},${f},${g},${h}`;
}

/** Points along every edge, to find the one under the pointer. */
function sampled(edges, lift, points = 16) {
  const count = edges.writer.length, out = new Float32Array(count * points * 2);
  for (let i = 0, at = 0; i < count; i++) {
    const [a, b, c, d, e, f, g, h] = controls(edges, i, lift);
    for (let p = 0; p < points; p++) {
      const t = p / (points - 1), u = 1 - t;
      const k0 = u * u * u, k1 = 3 * u * u * t, k2 = 3 * u * t * t, k3 = t * t * t;
      out[at++] = k0 * a + k1 * c + k2 * e + k3 * g;
      out[at++] = k0 * b + k1 * d + k2 * f + k3 * h;
    }
  }
  return { out, points };
}

/** The edge among `indices` that passes nearest to a pixel, or null if none is near. */
function nearest({ out, points }, indices, frame, px, py) {
  let best = NEAR * NEAR, found = null;
  const [, low] = frame.at(0, py + NEAR), [, high] = frame.at(0, py - NEAR);
  for (const i of indices) {
    const start = i * points * 2, end = start + (points - 1) * 2;
    if (out[start + 1] > high || out[end + 1] < low) continue;
    for (let at = start; at < end; at += 2) {
      if (out[at + 1] > high || out[at + 3] < low) continue;
      const x0 = frame.x(out[at]) - px, y0 = frame.y(out[at + 1]) - py;
      const dx = frame.x(out[at + 2]) - px - x0, dy = frame.y(out[at + 3]) - py - y0;
      const t = Math.max(0, Math.min(1, -(x0 * dx + y0 * dy) / (dx * dx + dy * dy || 1)));
      const far = (x0 + t * dx) ** 2 + (y0 + t * dy) ** 2;
      if (far < best) [best, found] = [far, i];
    }
  }
  return found;
}

/** A node's closed outline in data units, `grow` pixels larger: heads square, the rest with round corners. */
function outline(node, frame, grow = 0) {
  const [x, y, halfWidth, halfHeight] = node.box;
  const a = halfWidth + grow / frame.sx, b = halfHeight + grow / frame.sy;
  const radius = node.kind === "head" && !grow ? 0 : 0.6 * b * frame.sy;
  const steps = radius ? [0, 0.25, 0.5, 0.75, 1] : [0];
  const points = [];
  for (const [sx, sy] of [[1, 1], [-1, 1], [-1, -1], [1, -1]]) {
    for (const share of sx === sy ? steps : [...steps].reverse()) {
      const turn = (share * Math.PI) / 2;
      points.push([
        x + sx * (a - (radius * (1 - Math.cos(turn))) / frame.sx),
        y + sy * (b - (radius * (1 - Math.sin(turn))) / frame.sy),
      ]);
    }
  }
  return [...points, points[0]];
}
