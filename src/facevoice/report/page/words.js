// The view of `to_view` with its rows and packed numbers opened, how its values are worded, and the
// small elements that show them. What outcomes, emotions and reasons are called and look like comes
// with the view.

const NBSP = "\u00a0";
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const INK = "#1F2933";
const SOFT_INK = "#55616B";
const LINE = "#D5D9DD";

function openView(view) {
  const open = (row) => {
    const window = {};
    view.window_fields.forEach((name, k) => { window[name] = row[k]; });
    window.outcomeOf = view.outcomes[window.outcome];
    window.reasonsOf = window.reasons.map((k) => view.reasons[k]);
    for (const { key } of view.channels) window[`${key}Top`] = likeliest(window[key]);
    return window;
  };
  return {
    ...view,
    windows: view.windows.map(open),
    summary: view.summary === null ? null : open(view.summary),
    trace: view.trace === null ? null : openTrace(view.trace),
  };
}

function openTrace({ peaks_hz: peaksHz, peaks, speech, faces }) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const times = new DataView(bytes(faces.times).buffer);
  const boxes = new DataView(bytes(faces.boxes).buffer);
  const names = new Map();  // People are numbered as they appear.
  const tracks = [];
  for (const [who, count] of faces.tracks) {
    if (!names.has(who)) names.set(who, names.size + 1);
    for (let k = 0; k < count; k += 1) tracks.push(names.get(who));
  }
  return {
    peaksHz,
    peaks: bytes(peaks),
    speech,
    faceTimes: Array.from({ length: times.byteLength / 4 }, (_, k) => times.getInt32(4 * k, true) / 1000),
    faceBoxes: Array.from({ length: boxes.byteLength / 2 }, (_, k) => boxes.getInt16(2 * k, true) / 1000),
    tracks,
  };
}

function likeliest(probs) {
  if (probs === null) return null;
  const prob = Math.max(...probs);
  return { emotion: probs.indexOf(prob), prob };
}

// The place of the last item of a sorted list for which `start(item) <= value`, or -1.
function lastBefore(list, value, start = (item) => item) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (start(list[middle]) <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function windowAt(model, time) {
  if (!model.windows.length) return -1;
  return Math.max(0, lastBefore(model.windows, time, (window) => window.from));
}

function middleOf(window) {
  return (window.from + window.to) / 2;
}

// Nothing here is certain: never 0 or 100 per cent.
function percent(thousandths) {
  const whole = Math.round(thousandths / 10);
  if (whole < 1) return `<1%`;
  return whole > 99 ? `>99%` : `${whole}%`;
}

function share(thousandths) {
  return `${Math.round(thousandths / 10)}%`;
}

// 0:12, 1:02:03; with `digits`, tenths or hundredths too. Whole seconds are cut, not rounded up.
function clock(seconds, digits = 0) {
  const factor = 10 ** digits;
  const units = Math.floor(seconds * factor + 1e-6);
  const whole = Math.floor(units / factor);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const two = (n) => String(n).padStart(2, "0");
  const head = hours ? `${hours}:${two(minutes)}` : String(minutes);
  const tail = digits ? `.${String(units % factor).padStart(digits, "0")}` : "";
  return `${head}:${two(whole % 60)}${tail}`;
}

function span(window) {
  const isWhole = (t) => Math.abs(t - Math.round(t)) < 1e-3;
  const digits = isWhole(window.start) && isWhole(window.end) ? 0 : 1;
  return `${clock(window.start, digits)}–${clock(window.end, digits)}`;
}

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)}${NBSP}s`;
  return `${(seconds / 60).toFixed(seconds < 600 ? 1 : 0)}${NBSP}min`;
}

function reading(model, top) {
  return top === null ? null : `${model.emotions[top.emotion].name} ${percent(top.prob)}`;
}

// Why a channel says nothing in a window.
function whyMissing(window, key) {
  const about = key === "fused" ? ["face", "voice"] : [key];
  const own = window.reasonsOf.filter((reason) => about.includes(reason.about));
  const general = window.reasonsOf.filter((reason) => reason.name === "too_short");
  const named = (own.length ? own : general).map((reason) => reason.words);
  return named.length ? named.join(", ") : "not enough evidence";
}

function remarks(window) {
  return window.reasonsOf.map((reason) => reason.words).join("; ");
}

// "0:12, face happy 74%, voice calm 84%, flat"
function inWords(model, window, time) {
  const said = ["face", "voice"].map((key) => {
    const words = reading(model, window[`${key}Top`]);
    return words === null ? `no ${key}` : `${key} ${words}`;
  });
  return [clock(time), ...said, window.outcomeOf.name].join(", ");
}

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
  const shape = el("span", { class: `fv-shape fv-shape-${outcome.shape}`, "aria-hidden": "true" });
  shape.style.setProperty("--fv-color", outcome.color);
  return shape;
}

function outcomeBadge(outcome) {
  const shape = `fv-shape fv-shape-${outcome.shape} fv-shape-ink`;
  return el(
    "span",
    { class: "fv-badge", style: { background: outcome.color, color: outcome.ink } },
    el("span", { class: shape, "aria-hidden": "true" }),
    outcome.name,
  );
}

function chip(emotion) {
  return el("span", { class: "fv-chip", style: { background: emotion.color }, "aria-hidden": "true" });
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

function fill(context, color, x, y, width, height) {
  context.fillStyle = color;
  context.fillRect(x, y, width, height);
}
