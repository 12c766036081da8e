// Elements are built from text only: names of files never become markup.

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") Object.assign(element.style, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

// Shapes tell outcomes apart without colour: disc, diamond, bar, ring.
function outcomeShape(outcome) {
  const style = { "--fv-color": outcome.color };
  const shape = el("span", { class: `fv-shape fv-shape-${outcome.name}`, "aria-hidden": "true" });
  for (const [name, value] of Object.entries(style)) shape.style.setProperty(name, value);
  return shape;
}

function outcomeBadge(outcome) {
  return el(
    "span",
    { class: `fv-badge fv-badge-${outcome.name}`, style: { background: outcome.color, color: outcome.ink } },
    el("span", { class: `fv-shape fv-shape-${outcome.name} fv-shape-ink`, "aria-hidden": "true" }),
    outcome.name,
  );
}

function chip(emotion) {
  return el("span", { class: "fv-chip", style: { background: emotion.color }, "aria-hidden": "true" });
}

// Draws an outcome's shape with its middle at (x, y), as `outcomeShape` does.
function drawShape(context, name, x, y, size, ink) {
  const r = size / 2;
  context.save();
  context.fillStyle = ink;
  context.strokeStyle = ink;
  context.lineWidth = Math.max(1.5, size / 6);
  context.beginPath();
  if (name === "match") context.arc(x, y, r, 0, 7);
  else if (name === "conflict") {
    context.moveTo(x, y - r);
    context.lineTo(x + r, y);
    context.lineTo(x, y + r);
    context.lineTo(x - r, y);
  } else if (name === "flat") context.rect(x - r, y - r / 3, size, size / 3);
  else context.arc(x, y, r - context.lineWidth / 2, 0, 7);
  if (name === "insufficient") context.stroke();
  else context.fill();
  context.restore();
}

// A canvas that fills its box at the screen's own resolution; its context counts in CSS pixels.
function fitCanvas(canvas, width, height) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = canvas.getContext("2d");
  context.setTransform(w / width, 0, 0, h / height, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const INK = "#1F2933";
const SOFT_INK = "#55616B";
const LINE = "#D5D9DD";
const ACCENT = "#0072B2";

function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}
