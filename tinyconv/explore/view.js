// The view: state in, planes out. Everything is drawn anew when the state changes; pointing only changes classes.

const SLOTS = ["x", "w", "y"];
const NAMES = { x: "the input", w: "the kernel", y: "the output" };
const MAPS = { y: "conv", x: "conv_input_grad", w: "conv_weight_grad" };
const TAKES = { y: ["x", "w"], x: ["y", "w"], w: ["x", "y"] };  // operands of the map that fills each slot, in order
const CLASSES = { x: "data", w: "tap", y: "out" };

const state = { ...START, written: {}, cotangent: null };
let planes = {}, picture = {};  // planes of the form by slot; what is on show: values and triples
let address = 0;  // the timer that writes the geometry into it

const $ = id => document.getElementById(id);
const make = (tag, className, text = "") => Object.assign(document.createElement(tag), { className, textContent: text });
const shown = v => String(Math.round(v * 100) / 100).replace("-", "\u2212");
const factor = v => v < 0 ? `(${shown(v)})` : shown(v);

// The given number of a cell: written by the reader, or small and whole from the seed. Sizes do not change it.
function given(slot, r, c) {
  const key = `${slot} ${r} ${c}`;
  if (key in state.written) return state.written[key];
  let h = Math.imul(r * 31 + c + 1, 2654435761) ^ Math.imul(state.seed * 3 + SLOTS.indexOf(slot) + 1, 40503);
  h = Math.imul(h ^ (h >>> 15), 2246822519);
  h = ((h ^ (h >>> 13)) >>> 0) % 4;
  return slot === "w" ? h - 1 : h;
}

const numbers = (slot, side) => Array.from({ length: side * side }, (_, n) => given(slot, Math.floor(n / side), n % side));

// A figure with a plane of cells. cells: {text, className, small}; `keys` makes it one stop for Tab, with arrows inside.
function plane(name, role, side, cells, { keys = false, open = false, widest = side } = {}) {
  const figure = make("figure", open ? "open" : ""), caption = make("figcaption", "");
  caption.append(make("b", "", name), make("span", "role", ` ${role}`));
  const grid = make("div", "plane");
  grid.style.setProperty("--columns", side);
  grid.style.setProperty("--widest", widest);
  grid.setAttribute("role", "grid");
  grid.setAttribute("aria-label", `${name} ${role}, ${side} by ${side}`);
  const made = cells.map(({ text, className, small }) => {
    const cell = make("div", `cell ${className}`, text);
    if (text.length > 3) cell.classList.add("long");
    if (small) cell.append(make("small", "", small));
    cell.setAttribute("role", "gridcell");
    return cell;
  });
  for (let r = 0; r < side; r++) {
    const row = make("div", "row");
    row.setAttribute("role", "row");
    row.append(...made.slice(r * side, (r + 1) * side));
    grid.append(row);
  }
  figure.append(caption, grid);
  const inside = made.filter((_, n) => !cells[n].outside);
  if (keys && inside.length) walk(grid, inside, Math.sqrt(inside.length));
  return { figure, cells: made, inside };
}

// One cell of a plane can be reached by Tab; the arrow keys move on from it.
function walk(grid, cells, side) {
  cells.forEach((cell, n) => { cell.tabIndex = n ? -1 : 0; cell.dataset.n = n; });
  grid.addEventListener("keydown", event => {
    const n = Number(event.target.dataset.n), [r, c] = [Math.floor(n / side), n % side];
    const to = { ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1], Home: [r, 0],
      End: [r, side - 1] }[event.key];
    if (!to || to.some(v => v < 0 || v >= side)) return;
    event.preventDefault();
    cells[n].tabIndex = -1;
    const next = cells[to[0] * side + to[1]];
    next.tabIndex = 0;
    next.focus();
  });
}

// Pointing at the cells of a plane, by mouse, finger or keyboard.
function pointing(cells, enter, leave) {
  cells.forEach((cell, n) => {
    cell.addEventListener("pointerenter", () => enter(n));
    cell.addEventListener("focus", () => enter(n));
    cell.addEventListener("pointerleave", leave);
    cell.addEventListener("blur", leave);
  });
}

const place = (slot, n, side) => `${slot}[${Math.floor(n / side)},${n % side}]`;

// x with its padding around it: the cells of a padded plane, and of each whether it is outside the input and never read.
function padded(side, p, unread, describe) {
  const whole = side + 2 * p;
  return Array.from({ length: whole * whole }, (_, n) => {
    const [r, c] = [Math.floor(n / whole) - p, n % whole - p];
    if (r >= 0 && c >= 0 && r < side && c < side) return describe(r * side + c);
    return { text: "", className: `pad${unread(r + p, c + p) ? " unread" : ""}`, outside: true };
  });
}

function draw() {
  const { i, k, s, p, d } = state, size = sides(state), fits = size.y >= 1;
  for (const name of "ikspd") {
    const slider = $("controls").elements[name];
    slider.value = state[name];
    slider.nextElementSibling.textContent = state[name];
  }
  $("controls").elements.map.value = state.map;
  $("index").textContent = `i = ${s}·o + ${d}·k − ${p}`;
  clearTimeout(address);  // browsers refuse an address that changes all the time
  address = setTimeout(() => history.replaceState(null, "", `#${new URLSearchParams({ i, k, s, p, d, map: state.map })}`), 200);
  for (const id of ["form", "says", "gradients"]) $(id).hidden = !fits;
  $("equivalent").hidden = !fits || state.map !== "x";
  $("rule").classList.toggle("wrong", !fits);
  if (!fits) {
    $("rule").textContent = `the kernel does not fit: i + 2p = ${i + 2 * p} is smaller than k + (k - 1)*(d - 1) = ${span(state)}`;
  } else {
    drawForm(size);
    drawEquivalent(size);
    drawGradients(size);
    point(null);
  }
  drawPooling();
}

function drawForm(size) {
  const values = Object.fromEntries(SLOTS.map(slot => [slot, numbers(slot, size[slot])]));
  values[state.map] = fill(state.map, values, state);
  picture = { values, triples: triples(state), size };
  const rest = leftover(state), rule = state.map === "x" ? transposedRule(state) : convRule(state);
  $("rule").textContent = rule + (rest ? `;  ${rest} row${rest > 1 ? "s" : ""} of the padded input left over` : "");
  const rows = new Set();  // of the padded input that a window reads; columns are the same
  for (let o = 0; o < size.y; o++) for (let tap = 0; tap < state.k; tap++) rows.add(o * state.s + tap * state.d);
  const unread = (r, c) => !rows.has(r) || !rows.has(c), widest = Math.max(state.i + 2 * state.p, size.y);
  planes = {};
  $("form").style.setProperty("--tall", state.i + 2 * state.p + size.w + size.y);
  $("form").replaceChildren();
  for (const slot of SLOTS) {
    const p = slot === "x" ? state.p : 0, open = slot === state.map, skips = slot === "x" ? unread : () => false;
    const cells = padded(size[slot], p, skips, n => ({ text: shown(values[slot][n]),
      className: CLASSES[slot] + (skips(Math.floor(n / size[slot]) + p, n % size[slot] + p) ? " unread" : "") }));
    planes[slot] = plane(slot, `${NAMES[slot]}, ${open ? "filled" : "given"}`, size[slot] + 2 * p, cells,
      { keys: true, open, widest });
    $("form").append(planes[slot].figure);
    pointing(planes[slot].inside, n => point(slot, n), () => point(null));
    planes[slot].inside.forEach((cell, n) => {
      cell.setAttribute("aria-label", `${place(slot, n, size[slot])} is ${shown(values[slot][n])}`);
      if (open) cell.addEventListener("click", () => toggle(n));
      cell.addEventListener("keydown", event => type(event, slot, n, size[slot], open));
    });
  }
}

// Light a cell, and in the other two slots all that the form multiplies it with.
function point(slot, n) {
  if (!planes.y) return;  // a cell that is just being taken away loses the focus
  for (const name of SLOTS) for (const cell of planes[name].cells) cell.classList.remove("lit", "here");
  if (slot === null) {
    $("says").textContent = `Point at a cell. Now ${state.map} is filled: ${state.map} = ${call(state.map)}.`;
    if (state.map === "x") showWindow(0);
    return;
  }
  const found = picture.triples.filter(t => t[slot] === n);
  for (const t of found) for (const name of SLOTS) planes[name].inside[t[name]].classList.add("lit");
  planes[slot].inside[n].classList.add("lit", "here");
  if (slot === "y") for (const cell of underWindow(n)) cell.classList.add("lit");
  $("says").textContent = slot === state.map ? sum(slot, n, found) : touched(slot, n, found);
  if (state.map === "x") showWindow(slot === "x" ? n : found.length ? found[0].x : 0);
}

// All cells of the padded x under the kernel for one cell of y.
function underWindow(n) {
  const { k, s, p, d, i } = state, o = picture.size.y, whole = i + 2 * p, cells = [];
  const [r, c] = [Math.floor(n / o) * s, n % o * s];
  for (let a = 0; a < k; a++) for (let b = 0; b < k; b++) cells.push(planes.x.cells[(r + a * d) * whole + c + b * d]);
  return cells;
}

const call = slot => `${MAPS[slot]}(${TAKES[slot].join(", ")})`;

// A filled cell as the sum that it is.
function sum(slot, n, found) {
  const [a, b] = TAKES[slot], { values, size } = picture, name = place(slot, n, size[slot]);
  if (!found.length) return `${name} = 0: nothing reaches it.`;
  const terms = found.slice(0, 30).map(t => `${factor(values[a][t[a]])}·${factor(values[b][t[b]])}`).join(" + ");
  return `${name} = Σ ${a}·${b} = ${terms}${found.length > 30 ? " + …" : ""} = ${shown(values[slot][n])}`;
}

// A given cell, and the filled cells that it goes into.
function touched(slot, n, found) {
  const [open, { size }] = [state.map, picture], other = TAKES[open].find(name => name !== slot);
  const name = `${place(slot, n, size[slot])} = ${shown(picture.values[slot][n])}`;
  if (!found.length) return `${name} goes into no cell of ${open}: it has no part in this form.`;
  const ways = found.slice(0, 12).map(t => `${place(open, t[open], size[open])} by ${place(other, t[other], size[other])}`);
  return `${name} goes into ${ways.join(", ")}${found.length > 12 ? `, and ${found.length - 12} more` : ""}`;
}

function toggle(n) {
  state.cotangent = state.cotangent === n ? -1 : n;
  drawGradients(picture.size);
}

// Enter sets a cotangent; a digit or a minus writes into a given cell.
function type(event, slot, n, side, open) {
  const digit = /^[0-9]$/.test(event.key), [r, c] = [Math.floor(n / side), n % side];
  if (open && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    toggle(n);
  } else if (!open && (digit || event.key === "-")) {
    state.written[`${slot} ${r} ${c}`] = digit ? Number(event.key) : -given(slot, r, c);
    draw();
    planes[slot].inside[n].focus();
  }
}

// y stretched and padded, the kernel flipped, stride 1: what fills x, as a direct convolution.
function drawEquivalent(size) {
  if (state.map !== "x") return;
  const e = equivalent(state), y = picture.values.y, stretched = stretchedPlane(y, state), o = size.y;
  const zeros = e.zeros ? `${e.zeros} zero${e.zeros > 1 ? "s" : ""} between every two rows of y: ${o} become ${e.stretched}; ` : "";
  const edge = e.before < 0 ? `${-e.before} rows are cut off all around` : `padding p' = k^ - p - 1 = ${e.before}`;
  const full = state.s === 1 && state.p === 0 ? " At stride 1 without padding this is the full convolution." : "";
  $("equivalent-text").textContent = `The input gradient is a convolution of y by the flipped kernel at stride 1: ${zeros}${edge}`
    + `${e.extra ? `, and a = ${e.extra} more at the end` : ""}.${full}`;
  const flipped = picture.values.w.slice().reverse(), used = new Set();
  for (let n = 0; n < size.x ** 2; n++) for (const [at] of stretchedWindow(n, stretched, state)) used.add(at);
  const cells = stretched.cells.map(({ role, value }, n) => ({
    text: role === "data" ? shown(value) : role === "zero" ? "·" : "",
    className: ({ data: "out", zero: "zero", padding: "pad" })[role] + (used.has(n) ? "" : " unread") }));
  const left = plane("y", `${e.zeros ? "stretched, " : ""}padded`, stretched.side, cells);
  const kernel = plane("w", "flipped", size.w, flipped.map(v => ({ text: shown(v), className: "tap" })));
  const result = make("span", "sign");
  $("equivalent-planes").replaceChildren(left.figure, make("span", "sign", "⋆"), kernel.figure, result);
  Object.assign(picture, { stretched, flipped, left, result });
}

// The window of the direct convolution for one cell of x, the weights in the corners of its cells.
function showWindow(n) {
  const { stretched, flipped, left, result, size } = picture;
  for (const cell of left.cells) {
    cell.classList.remove("lit");
    cell.querySelector("small")?.remove();
  }
  let total = 0;
  for (const [at, tap] of stretchedWindow(n, stretched, state)) {
    left.cells[at].classList.add("lit");
    left.cells[at].append(make("small", "", shown(flipped[tap])));
    total += stretched.cells[at].value * flipped[tap];
  }
  result.textContent = `= ${shown(total)} = ${place("x", n, size.x)}`;
}

// The rule: the gradient of an operand is the map that fills its slot, from the cotangent and the other operand.
function drawGradients(size) {
  const open = state.map, count = size[open] ** 2;
  if (state.cotangent === null) state.cotangent = Math.floor(size[open] / 2) * (size[open] + 1);
  const on = state.cotangent >= 0 && state.cotangent < count;
  planes[open].inside.forEach((cell, n) => cell.classList.toggle("set", on && n === state.cotangent));
  const g = Array.from({ length: count }, (_, n) => on && n === state.cotangent ? 1 : 0);
  const calls = TAKES[open].map(operand => `d${operand} = ${MAPS[operand]}(${
    TAKES[operand].map(name => name === open ? "g" : name).join(", ")})`);
  $("gradients-text").textContent = (on ? `The cotangent g of ${place(open, state.cotangent, size[open])} is 1. `
    : `Click a cell of ${open} (or press Enter on it) to set its cotangent to 1. `)
    + `The gradient of an operand is the map that fills its slot: ${calls.join(", ")}.`;
  picture.gradients = {};
  $("gradient-planes").replaceChildren();
  for (const slot of SLOTS) {
    const values = slot === open ? g : fill(slot, { ...picture.values, [open]: g }, state);
    picture.gradients[slot] = values;
    const cells = values.map(v => ({ text: shown(v), className: v ? `${CLASSES[slot]} lit` : CLASSES[slot] }));
    const { figure } = plane(slot === open ? "g" : `d${slot}`, slot === open ? `the cotangent of ${slot}` : `the gradient of ${slot}`,
      size[slot], cells);
    $("gradient-planes").append(figure);
  }
}

function drawPooling() {
  const g = { i: state.i, ...state.pool }, o = outputSize({ ...g, d: 1 }), form = $("pool-controls");
  for (const name of "ksp") {
    form.elements[name].value = g[name];
    form.elements[name].nextElementSibling.textContent = g[name];
  }
  form.elements.mode.value = g.mode;
  const empty = o >= 1 && windows(g).some(cells => !cells.length), wrong = o < 1 || empty;
  $("pool-text").classList.toggle("wrong", wrong);
  $("pool-planes").hidden = wrong;
  $("pool-says").hidden = wrong;
  if (wrong) {
    $("pool-text").textContent = empty ? `a window would hold no cell of x: pad less than k = ${g.k}`
      : `the window does not fit: i + 2p = ${g.i + 2 * g.p} is smaller than k = ${g.k}`;
    return;
  }
  const max = g.mode === "max", x = numbers("x", g.i), { y, at, back, windows: all } = pool(x, g.mode, g);
  $("pool-text").textContent = max
    ? "A maximum chooses one cell of each window (ringed), the first of equals. Unpooling sends each number back to where its "
      + "maximum stood; so does the gradient. Where windows overlap, what arrives is added."
    : "An average reads all cells of its window alike (padding counts as zeros). Its adjoint spreads each number evenly over them; "
      + "so does the gradient.";
  const tops = new Set(max ? at : []), side = g.i + 2 * g.p;
  const from = plane("x", "the input", side, padded(g.i, g.p, () => false, n => ({ text: shown(x[n]),
    className: `data${tops.has(n) ? " top" : ""}` })), { keys: true });
  const to = plane("y", g.mode === "max" ? "the maxima" : "the averages", o, y.map(v => ({ text: shown(v), className: "out" })),
    { keys: true });
  const way = plane("x'", max ? "y unpooled" : "y spread", g.i, back.map(v => ({ text: v ? shown(v) : "0",
    className: v ? "data" : "blank" })), { keys: true });
  $("pool-planes").replaceChildren(from.figure, make("span", "sign", "→"), to.figure, make("span", "sign", "→"), way.figure);
  const clear = () => {
    for (const cell of [...from.cells, ...to.cells, ...way.cells]) cell.classList.remove("lit", "here");
    $("pool-says").textContent = "Point at a cell.";
  };
  const light = outputs => {
    clear();
    for (const n of outputs) {
      to.inside[n].classList.add("lit");
      for (const cell of all[n]) from.inside[cell].classList.add("lit");
      for (const cell of max ? [at[n]] : all[n]) way.inside[cell].classList.add("lit");
    }
  };
  const reaching = cell => all.flatMap((cells, n) => (max ? at[n] === cell : cells.includes(cell)) ? [n] : []);
  const say = (name, cell, outputs) => {
    $("pool-says").textContent = `${place(name, cell, g.i)} ${outputs.length
      ? `${max ? "is the maximum of" : "is averaged into"} ${outputs.map(n => place("y", n, o)).join(", ")}`
      : max ? "is no maximum: nothing is sent to it" : "is in no window"}.`;
  };
  pointing(to.inside, n => {
    light([n]);
    to.inside[n].classList.add("here");
    const cells = all[n].map(cell => shown(x[cell])).join(", ");
    $("pool-says").textContent = max ? `${place("y", n, o)} = max(${cells}) = ${shown(y[n])}, at ${place("x", at[n], g.i)}`
      : `${place("y", n, o)} = (${all[n].map(cell => shown(x[cell])).join(" + ")})/${g.k * g.k} = ${shown(y[n])}`;
  }, clear);
  for (const [part, name] of [[from, "x"], [way, "x'"]]) {
    pointing(part.inside, cell => {
      const outputs = reaching(cell);
      light(outputs);
      part.inside[cell].classList.add("here");
      say(name, cell, outputs);
    }, clear);
  }
  clear();
  picture.pooled = { y, at, back };
}

// A geometry from outside: the address of the page, or a test. Numbers out of range are brought into it.
function set(changes) {
  for (const name of "ikspd") {
    const { min, max } = $("controls").elements[name], v = Number(changes[name]);
    if (changes[name] === undefined || !Number.isInteger(v)) continue;
    const to = Math.min(Number(max), Math.max(Number(min), v));
    if (to !== state[name]) Object.assign(state, { [name]: to, cotangent: null });
  }
  if (SLOTS.includes(changes.map) && changes.map !== state.map) Object.assign(state, { map: changes.map, cotangent: null });
  if (changes.pool) state.pool = { ...state.pool, ...changes.pool };
  draw();
}

$("controls").addEventListener("input", () => {
  const form = new FormData($("controls"));
  set(Object.fromEntries(form));
});
$("pool-controls").addEventListener("input", () => {
  const { mode, ...sizes } = Object.fromEntries(new FormData($("pool-controls")));
  set({ pool: { mode, ...Object.fromEntries(Object.entries(sizes).map(([name, v]) => [name, Number(v)])) } });
});
$("numbers").addEventListener("click", () => {
  Object.assign(state, { seed: state.seed + 1, written: {} });
  draw();
});
window.explorer = { set, picture: () => picture };
set(Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
