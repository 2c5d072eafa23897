"use strict";

// What the page does: one moment of DATA at a time, its rule, its values as pictures, and why its kernels were taken.

const $ = id => document.getElementById(id);
const SMALL = { cells: 64, columns: 10 };  // up to here the numbers themselves are written
let at = 0;

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const isBackward = moment => moment.pass !== "forward";
const finite = v => typeof v === "number";
const shown = v => String(v).replace("-", "\u2212");

// blue below 0, white, orange above; black for what is no number. `share` is -1 to 1.
function color(v, most) {
  if (!finite(v)) return "#000";
  const share = most ? v / most : 0, end = share < 0 ? [0, 114, 178] : [213, 94, 0];
  return `rgb(${end.map(c => Math.round(255 + (c - 255) * Math.abs(share))).join()})`;
}

// The index in the tensor of its n-th number.
function index(n, shape) {
  const at = [];
  for (const size of [...shape].reverse()) { at.unshift(n % size); n = Math.floor(n / size); }
  return at.join(", ");
}

function figure({ slot, label, value }) {
  const { shape, dtype, norm, numbers } = DATA.values[value];
  const made = element("figure", "", { "data-slot": slot });
  const caption = element("figcaption", label);
  caption.append(element("small", `${shape.join("×") || "scalar"} ${dtype}, norm ${norm}`));
  made.append(caption);
  if (numbers === null) {
    made.append(element("div", `${shape.reduce((a, b) => a * b, 1).toLocaleString("en")} values, not kept`, { class: "none" }));
    return made;
  }
  const columns = shape.at(-1) ?? 1, rows = shape.length > 1 ? shape.at(-2) : 1;
  const most = numbers.reduce((m, v) => finite(v) ? Math.max(m, Math.abs(v)) : m, 0);
  const tell = n => { $("says").textContent = `${slot}[${index(n, shape)}] = ${shown(numbers[n])}`; };
  const cells = rows * columns, sheet = element("div", "", { class: "sheet", tabindex: 0, role: "img",
    "aria-label": `${label}, ${numbers.length} values, largest magnitude ${most}` });
  for (let first = 0; first < numbers.length; first += cells) {
    const part = numbers.slice(first, first + cells);
    sheet.append(numbers.length <= SMALL.cells && columns <= SMALL.columns ? written(part, columns, most, first, tell)
      : drawn(part, rows, columns, most, first, tell, numbers.length === cells));
  }
  made.append(sheet);
  return made;
}

function written(numbers, columns, most, first, tell) {
  const grid = element("div", "", { class: "cells" });
  grid.style.setProperty("--columns", columns);
  numbers.forEach((v, n) => {
    const cell = element("span", shown(v));
    cell.style.background = color(v, most);
    if (!finite(v) || Math.abs(v) > .6 * most) cell.style.color = "#fff";
    cell.addEventListener("pointerenter", () => tell(first + n));
    grid.append(cell);
  });
  return grid;
}

function drawn(numbers, rows, columns, most, first, tell, alone) {
  const side = Math.max(2, Math.min(16, Math.floor((alone ? 600 : 140) / columns), Math.floor((alone ? 240 : 140) / rows)));
  const tall = rows === 1 ? 22 : side;
  const canvas = element("canvas", "", { width: columns * side, height: rows * tall });
  const ink = canvas.getContext("2d");
  numbers.forEach((v, n) => {
    ink.fillStyle = color(v, most);
    ink.fillRect(n % columns * side, Math.floor(n / columns) * tall, side, tall);
  });
  const point = event => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - 1) / (box.width - 2) * columns);
    const row = Math.floor((event.clientY - box.top - 1) / (box.height - 2) * rows);
    if (column >= 0 && column < columns && row >= 0 && row < rows) tell(first + row * columns + column);
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  return canvas;
}

function kernels(moment) {
  return moment.kernels.flatMap(({ op, algorithm, summary, scratch, others }) => {
    const table = element("table", "");
    for (const [names, why] of others) {
      const row = element("tr", "");
      row.append(element("td", names), element("td", why));
      table.append(row);
    }
    return [element("h3", `${op} by ${algorithm}${scratch ? `, with ${scratch} of scratch` : ""}; and why not by another`),
      element("p", summary), table];
  });
}

function show(to) {
  at = Math.max(0, Math.min(DATA.moments.length - 1, to));
  const moment = DATA.moments[at];
  if (!moment) return;
  $("at").value = at;
  $("count").textContent = `${at + 1} of ${DATA.moments.length}`;
  $("pass").textContent = moment.pass;
  $("name").textContent = moment.name;
  $("rule").textContent = moment.rule;
  $("rule").classList.toggle("backward", isBackward(moment));
  $("facts").textContent = moment.facts.join("; ");
  $("made").replaceChildren(figure(moment.makes));
  $("takes").replaceChildren(...moment.takes.map(figure));
  $("from").textContent = isBackward(moment) ? "what the rule may read" : "made from";
  $("says").textContent = "\u00a0";
  $("inside").replaceChildren(...moment.inside.map(text => element("p", text, { class: "rule" })));
  if (moment.inside.length) $("inside").prepend(element("h3", "the operations that the rule ran"));
  $("kernels").replaceChildren(...kernels(moment));
  for (const [n, button] of $("list").querySelectorAll("button").entries()) {
    button.toggleAttribute("aria-current", n === at);
    if (n === at && $("list").scrollHeight > $("list").clientHeight) {
      $("list").scrollTop = button.offsetTop - $("list").offsetTop - $("list").clientHeight / 2;
    }
  }
}

function begin() {
  document.title = $("title").textContent = DATA.title;
  $("findings").replaceChildren(...(DATA.findings.length ? DATA.findings.map(text => element("li", text, { class: "wrong" }))
    : [element("li", "No NaN or infinity, no gradient that vanishes or explodes.")]));
  $("at").max = DATA.moments.length - 1;
  let pass = "";
  DATA.moments.forEach((moment, n) => {
    if (moment.pass !== pass) $("list").append(element("b", pass = moment.pass));
    const button = element("button", moment.name, { type: "button" });
    button.classList.toggle("backward", isBackward(moment));
    button.classList.toggle("bad", moment.bad);
    button.addEventListener("click", () => show(n));
    $("list").append(button);
  });
  $("back").addEventListener("click", () => show(at - 1));
  $("on").addEventListener("click", () => show(at + 1));
  $("at").addEventListener("input", () => show(Number($("at").value)));
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: DATA.moments.length - 1,
      b: DATA.moments.findIndex(isBackward) }[event.key];
    if (to === undefined || to < 0 && event.key === "b") return;
    event.preventDefault();
    show(to);
  });
  show(0);
}

begin();
