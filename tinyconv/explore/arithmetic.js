// The arithmetic of the page, with no view in it. A geometry g is {i, k, s, p, d}: square planes, one channel.
// Planes are flat arrays in row-major order. The sums are those of kernels/conv/reference.py, the rules those of arithmetic.py.
"use strict";

const span = g => g.d * (g.k - 1) + 1;  // cells that the kernel covers, k^
const outputSize = g => Math.floor((g.i + 2 * g.p - span(g)) / g.s) + 1;
const sides = g => ({ x: g.i, w: g.k, y: outputSize(g) });
const leftover = g => (g.i + 2 * g.p - span(g)) % g.s;

// Every [x cell, w cell, y cell] that the form T(x, w, y) multiplies: x at row o*s + k*d - p, where that is inside.
function triples(g) {
  const o = outputSize(g), axis = [];  // the same for rows and columns
  for (let at = 0; at < o; at++) {
    for (let tap = 0; tap < g.k; tap++) {
      const i = at * g.s + tap * g.d - g.p;
      if (i >= 0 && i < g.i) axis.push([i, tap, at]);
    }
  }
  const all = [];
  for (const [ih, kh, oh] of axis) {
    for (const [iw, kw, ow] of axis) all.push({ x: ih * g.i + iw, w: kh * g.k + kw, y: oh * o + ow });
  }
  return all;
}

// The map that fills a slot from the values of the other two.
function fill(slot, values, g) {
  const [a, b] = ["x", "w", "y"].filter(name => name !== slot);
  const out = new Array(sides(g)[slot] ** 2).fill(0);
  for (const t of triples(g)) out[t[slot]] += values[a][t[a]] * values[b][t[b]];
  return out;
}

// The direct convolution that fills x: y stretched by zeros and padded, the flipped kernel, stride 1.
function equivalent(g) {
  const o = outputSize(g), before = span(g) - 1 - g.p, extra = leftover(g);
  return { zeros: g.s - 1, stretched: g.s * (o - 1) + 1, before, after: before + extra, extra };
}

// The plane that this convolution slides over, cell by cell: {role: "data" | "zero" | "padding", value}, and its side.
// Where p' is negative, `cut` rows at the start (and rows at the end) are there but never read.
function stretchedPlane(y, g) {
  const e = equivalent(g), o = outputSize(g), lo = Math.max(e.before, 0), side = lo + e.stretched + Math.max(e.after, 0);
  const cells = [];
  for (let r = 0; r < side; r++) {
    for (let c = 0; c < side; c++) {
      const [a, b] = [r - lo, c - lo];
      const inside = a >= 0 && b >= 0 && a < e.stretched && b < e.stretched;
      const data = inside && a % g.s === 0 && b % g.s === 0;
      cells.push({ role: data ? "data" : inside ? "zero" : "padding", value: data ? y[(a / g.s) * o + b / g.s] : 0 });
    }
  }
  return { side, cells, cut: Math.max(-e.before, 0) };
}

// The window of that convolution for one cell of x: [cell of the plane, cell of the flipped kernel].
function stretchedWindow(cell, plane, g) {
  const [r, c] = [Math.floor(cell / g.i) + plane.cut, cell % g.i + plane.cut], window = [];
  for (let a = 0; a < g.k; a++) {
    for (let b = 0; b < g.k; b++) {
      const [at, to] = [r + a * g.d, c + b * g.d];
      if (at < plane.side && to < plane.side) window.push([at * plane.side + to, a * g.k + b]);
    }
  }
  return window;
}

const relationship = (number, formula, numbers, size) => `relationship ${number}: ${formula} = ${numbers} = ${size}`;

// The guide's rule for the size of y, with the numbers put in (relationships 1 to 6, and 15).
function convRule({ i, k, s, p, d }) {
  const o = outputSize({ i, k, s, p, d });
  if (d > 1 && k > 1) {
    return relationship(15, "o = floor((i + 2p - k - (k - 1)*(d - 1))/s) + 1",
      `floor((${i} + 2*${p} - ${k} - (${k} - 1)*(${d} - 1))/${s}) + 1`, o);
  }
  if (s > 1 && p) return relationship(6, "o = floor((i + 2p - k)/s) + 1", `floor((${i} + 2*${p} - ${k})/${s}) + 1`, o);
  if (s > 1) return relationship(5, "o = floor((i - k)/s) + 1", `floor((${i} - ${k})/${s}) + 1`, o);
  if (!p) return relationship(1, "o = (i - k) + 1", `(${i} - ${k}) + 1`, o);
  if (p === (k - 1) / 2) {
    return relationship(3, "o = i + 2*floor(k/2) - (k - 1)", `${i} + 2*floor(${k}/2) - (${k} - 1)`, o);
  }
  if (p === k - 1) return relationship(4, "o = i + (k - 1)", `${i} + (${k} - 1)`, o);
  return relationship(2, "o = (i - k) + 2p + 1", `(${i} - ${k}) + 2*${p} + 1`, o);
}

// The guide's rule for the size of the x that is filled (relationships 8 to 14); the guide's i' is o here.
function transposedRule(g) {
  const { i, k, s, p, d } = g, o = outputSize(g), a = leftover(g), n = span(g), K = d > 1 && k > 1 ? "k^" : "k";
  if (a) return relationship(14, `o' = s*(i' - 1) + a + ${K} - 2p`, `${s}*(${o} - 1) + ${a} + ${n} - 2*${p}`, i);
  if (s > 1 && p) return relationship(13, `o' = s*(i' - 1) + ${K} - 2p`, `${s}*(${o} - 1) + ${n} - 2*${p}`, i);
  if (s > 1) return relationship(12, `o' = s*(i' - 1) + ${K}`, `${s}*(${o} - 1) + ${n}`, i);
  if (!p) return relationship(8, `o' = i' + (${K} - 1)`, `${o} + (${n} - 1)`, i);
  if (p === n - 1) return relationship(11, `o' = i' - (${K} - 1)`, `${o} - (${n} - 1)`, i);
  return relationship(p === (n - 1) / 2 ? 10 : 9, `o' = i' + (${K} - 1) - 2p`, `${o} + (${n} - 1) - 2*${p}`, i);
}

// Pooling g = {i, k, s, p}: of every window the cells of x in it, in row-major order. Padding holds no cells.
function windows(g) {
  const o = outputSize({ ...g, d: 1 }), all = [];
  for (let oh = 0; oh < o; oh++) {
    for (let ow = 0; ow < o; ow++) {
      const cells = [];
      for (let r = oh * g.s - g.p; r < oh * g.s - g.p + g.k; r++) {
        for (let c = ow * g.s - g.p; c < ow * g.s - g.p + g.k; c++) {
          if (r >= 0 && c >= 0 && r < g.i && c < g.i) cells.push(r * g.i + c);
        }
      }
      all.push(cells);
    }
  }
  return all;
}

// The pooled plane, where the maxima stand (the first of equals), and the plane that the adjoint sends y back to.
function pool(x, mode, g) {
  const all = windows(g), back = new Array(x.length).fill(0), area = g.k * g.k;
  const at = all.map(cells => cells.reduce((best, cell) => x[cell] > x[best] ? cell : best, cells[0]));
  const y = all.map((cells, n) => mode === "max" ? x[at[n]] : cells.reduce((sum, cell) => sum + x[cell], 0) / area);
  all.forEach((cells, n) => {
    if (mode === "max") back[at[n]] += y[n];
    else for (const cell of cells) back[cell] += y[n] / area;
  });
  return { y, at, back, windows: all };
}
