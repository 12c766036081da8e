// The timeline: rows over one axis, a cursor, zoom, and a strip over the whole.

const LEAST_SHOWN_S = 4;
const TICK_STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
// Narrower windows are shown as shares of time, in columns of pixels.
const LEAST_WINDOW_PX = 2.5;
const COLUMN_PX = 4;
const NAME_PX = 15;
const STRIP_PX = 16;
const PRINT_PX = 600;
const PAGE_OF_WINDOWS = 10;
const SPEECH_INK = "#3E4C59";
const SOUND_INK = "#B4BDC5";
const ON_WHITE = { ink: SOFT_INK, ground: "#FFFFFF" };

// Which part of the file is shown, and where its moments lie.
class Axis {
  constructor(duration) {
    this.duration = Math.max(duration, 0.001);
    this.width = 1;
    this.whole();
  }

  get shown() { return this.to - this.from; }

  get least() { return Math.min(LEAST_SHOWN_S, this.duration); }

  get isWhole() { return this.shown >= this.duration - 1e-6; }

  get isClosest() { return this.shown <= this.least + 1e-6; }

  x(time) { return ((time - this.from) / this.shown) * this.width; }

  // From where to where a stretch of time is seen.
  ends({ from, to }) { return [Math.max(0, this.x(from)), Math.min(this.width, this.x(to))]; }

  time(x) {
    const time = this.from + (x / this.width) * this.shown;
    return Math.min(Math.max(time, 0), this.duration);
  }

  holds(time) { return time >= this.from && time <= this.to; }

  show(from, length) {
    this.from = Math.min(Math.max(from, 0), this.duration - length);
    this.to = this.from + length;
  }

  // Shows `shown` seconds so that `time` stays where it is, or comes to the middle if unseen.
  zoomTo(shown, time) {
    const length = Math.min(Math.max(shown, this.least), this.duration);
    const place = this.holds(time) ? (time - this.from) / this.shown : 0.5;
    this.show(time - place * length, length);
  }

  moveTo(from) { this.show(from, this.shown); }

  whole() { this.show(0, this.duration); }
}

function drawAxis(context, axis, bottom) {
  const least = axis.shown * (80 / axis.width);
  const step = TICK_STEPS_S.find((s) => s >= least) ?? Math.ceil(least / 14400) * 14400;
  context.font = `12px ${FONT}`;
  context.textBaseline = "top";
  context.textAlign = "left";
  for (let k = Math.ceil(axis.from / step - 1e-6); k * step <= axis.to + 1e-6; k += 1) {
    const x = Math.min(Math.max(Math.round(axis.x(k * step)) + 0.5, 0.5), axis.width - 0.5);
    fill(context, LINE, x - 0.5, bottom, 1, 5);
    fill(context, "rgba(213, 217, 221, 0.45)", x - 0.5, 0, 1, bottom);
    const text = clock(k * step, step < 1 ? 1 : 0);
    const width = context.measureText(text).width;
    context.fillStyle = SOFT_INK;
    context.fillText(text, Math.min(Math.max(x - width / 2, 0), axis.width - width), bottom + 7);
  }
  fill(context, LINE, 0, bottom, axis.width, 1);
}

// First and last place of the windows that are shown.
function shownWindows(model, axis) {
  const last = lastBefore(model.windows, axis.to, (window) => window.from);
  return [windowAt(model, axis.from), Math.max(last, 0)];
}

function isDense(model, axis) {
  const [first, last] = shownWindows(model, axis);
  return axis.width / (last - first + 1) < LEAST_WINDOW_PX;
}

// Draws shares of time upwards from `base`, `room` high. `kindOf(window)` gives a place in `looks`,
// or null for nothing, which comes last.
function drawShares(context, model, axis, kindOf, looks, base, room) {
  let [place] = shownWindows(model, axis);
  for (let x = 0; x < axis.width; x += COLUMN_PX) {
    const width = Math.min(COLUMN_PX, axis.width - x);
    const [from, to] = [axis.time(x), axis.time(x + width)];
    const sums = looks.map(() => 0);
    while (place < model.windows.length && model.windows[place].to <= from) place += 1;
    for (let k = place; k < model.windows.length && model.windows[k].from < to; k += 1) {
      const window = model.windows[k];
      const kind = kindOf(window);
      const time = Math.min(window.to, to) - Math.max(window.from, from);
      if (kind !== null && time > 0) sums[kind] += time;
    }
    let y = base;
    sums.forEach((time, kind) => {
      const tall = Math.min(1, time / Math.max(to - from, 1e-9)) * room;
      y -= tall;
      if (tall > 0) fill(context, looks[kind].color, x, y, width + 0.5, tall);
    });
  }
}

// Least, mean and largest of a number in each column; columns without any are left out.
function columnRanges(model, axis, valueOf) {
  const columns = [];
  const [first, last] = shownWindows(model, axis);
  for (const window of model.windows.slice(first, last + 1)) {
    const value = valueOf(window);
    const place = Math.floor(axis.x(middleOf(window)) / COLUMN_PX);
    if (value === null || place < 0 || place * COLUMN_PX > axis.width) continue;
    const column = (columns[place] ??= { least: value, most: value, sum: 0, count: 0 });
    column.least = Math.min(column.least, value);
    column.most = Math.max(column.most, value);
    column.sum += value;
    column.count += 1;
  }
  return columns;
}

// Neighbouring windows of one kind: [{from, to, kind, first}].
function runs(model, axis, kindOf) {
  const found = [];
  const [first, last] = shownWindows(model, axis);
  for (const window of model.windows.slice(first, last + 1)) {
    const kind = kindOf(window);
    const before = found.at(-1);
    if (before && before.kind === kind) before.to = window.to;
    else found.push({ from: window.from, to: window.to, kind, first: window });
  }
  return found;
}

// Diagonal lines: nothing is known here.
function hatch(context, x, y, width, height) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  fill(context, "#F7F8F9", x, y, width, height);
  context.strokeStyle = "#CBD1D6";
  context.lineWidth = 1;
  context.beginPath();
  const step = 6;
  for (let u = Math.floor((x - height) / step) * step; u < x + width; u += step) {
    context.moveTo(u, y + height);
    context.lineTo(u + height, y);
  }
  context.stroke();
  context.restore();
}

// Words in the middle of a stretch, if there is room; true if they were written.
function writeIn(context, text, [left, right], y, { ink = INK, ground = null, size = 12 } = {}) {
  if (right - left < 20) return false;  // Before measuring, which takes time.
  context.font = `${size}px ${FONT}`;
  const width = context.measureText(text).width;
  if (width + 8 > right - left) return false;
  const x = (left + right) / 2;
  if (ground !== null) fill(context, ground, x - width / 2 - 4, y - size / 2 - 2, width + 8, size + 4);
  context.fillStyle = ink;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x, y + 0.5);
  return true;
}

// An outcome's shape with its middle at (x, y), as `outcomeShape` shows it.
function drawShape(context, { shape, ink }, x, y, size) {
  const r = size / 2;
  context.fillStyle = ink;
  context.strokeStyle = ink;
  context.lineWidth = Math.max(1.5, size / 6);
  context.beginPath();
  if (shape === "bar") context.rect(x - r, y - r / 3, size, size / 3);
  else if (shape === "diamond") {
    for (const [dx, dy] of [[0, -r], [r, 0], [0, r], [-r, 0]]) context.lineTo(x + dx, y + dy);
  } else if (shape === "disc") context.arc(x, y, r, 0, 7);
  else context.arc(x, y, r - context.lineWidth / 2, Math.PI / 2, 2.5 * Math.PI);
  if (shape === "ring" || shape === "half") context.stroke();
  if (shape === "ring") return;
  if (shape === "half") {
    context.beginPath();
    context.arc(x, y, r, Math.PI / 2, 1.5 * Math.PI);
  }
  context.fill();
}

function drawOutcomes(context, model, axis, top, height) {
  const middle = top + height / 2;
  const kindOf = (window) => window.outcome;
  if (isDense(model, axis)) {
    drawShares(context, model, axis, kindOf, model.outcomes, top + height, height);
    return;
  }
  for (const run of runs(model, axis, kindOf)) {
    const [left, right] = axis.ends(run);
    const outcome = model.outcomes[run.kind];
    fill(context, outcome.color, left, top, Math.max(right - left - 1, 0.5), height);
    const isWritten = writeIn(context, outcome.name, [left, right], middle, { ink: outcome.ink });
    if (!isWritten && right - left >= 14) drawShape(context, outcome, (left + right - 1) / 2, middle, 9);
  }
}

// Whose face is judged, in two greys by turns.
function drawNames(context, model, axis, top, height) {
  for (const run of runs(model, axis, ({ person }) => person)) {
    const name = nameOf(model, run.kind);
    if (name === null) continue;
    const [left, right] = axis.ends(run);
    fill(context, run.kind % 2 ? "#DFE3E7" : "#EEF0F2", left, top, Math.max(right - left - 1, 0.5), height);
    writeIn(context, name, [left, right], top + height / 2);
  }
}

// The height of a band tells the probability; its name stands above.
function drawBand(context, model, axis, key, top, height) {
  const base = top + height;
  const room = height - NAME_PX;
  const kindOf = (window) => window[`${key}Top`]?.emotion ?? null;
  const stretches = runs(model, axis, kindOf);
  for (const run of stretches.filter((r) => r.kind === null)) {
    const [left, right] = axis.ends(run);
    hatch(context, left, base - room, Math.max(right - left, 1), room);
  }
  if (isDense(model, axis)) drawShares(context, model, axis, kindOf, model.emotions, base, room);
  else {
    const [first, last] = shownWindows(model, axis);
    for (const window of model.windows.slice(first, last + 1)) {
      const best = window[`${key}Top`];
      if (best === null) continue;
      const [left, right] = axis.ends(window);
      const tall = (best.prob / 1000) * room;
      const { color } = model.emotions[best.emotion];
      fill(context, `${color}33`, left, base - room, right - left, room);
      fill(context, color, left, base - tall, right - left + 0.3, tall);
    }
  }
  fill(context, LINE, 0, base, axis.width, 1);
  for (const run of stretches) {
    const ends = axis.ends(run);
    if (run.kind !== null) writeIn(context, model.emotions[run.kind].name, ends, top + 7);
    else writeIn(context, whyMissing(run.first, key), ends, base - room / 2, ON_WHITE);
  }
}

function drawConflict(context, model, axis, top, height) {
  const y = (thousandths) => top + height * (1 - thousandths / 1000);
  const { zones } = model.point;
  if (zones.length) drawZones(context, zones, axis, y);
  for (const run of runs(model, axis, (window) => window.counted === null)) {
    if (!run.kind) continue;
    const [left, right] = axis.ends(run);
    hatch(context, left, top, Math.max(right - left, 1), height);
    writeIn(context, "not compared", [left, right], top + height / 4, ON_WHITE);
  }
  context.strokeStyle = LINE;
  context.lineWidth = 1;
  context.strokeRect(0.5, top + 0.5, axis.width - 1, height);
  context.strokeStyle = INK;
  context.lineWidth = 1.75;
  context.lineJoin = "round";
  if (isDense(model, axis)) drawDenseCurve(context, model, axis, y);
  else drawCurve(context, model, axis, y);
  nameZones(context, zones, axis, y);
}

// The outer zones have lines of their colours, those between are shaded.
function drawZones(context, zones, axis, y) {
  const [match, { from, to, color: between }, conflict] = zones;
  fill(context, `${between}38`, 0, y(to), axis.width, y(from) - y(to));
  for (const [value, { color }] of [[conflict.from, conflict], [match.to, match]]) {
    fill(context, color, 0, Math.round(y(value)) - 0.5, axis.width, 1);
  }
}

function nameZones(context, zones, axis, y) {
  context.font = `11px ${FONT}`;
  for (const zone of zones) {
    const room = y(zone.from) - y(zone.to);
    if (room < 13) continue;
    const width = context.measureText(zone.words).width + 10;
    const options = { ink: SOFT_INK, ground: "rgba(255, 255, 255, 0.85)", size: 11 };
    writeIn(context, zone.words, [axis.width - width, axis.width - 1], y(zone.to) + room / 2, options);
  }
}

function drawCurve(context, model, axis, y) {
  const [first, last] = shownWindows(model, axis);
  const { windows } = model;
  const isKnown = (k) => (windows[k]?.counted ?? null) !== null;
  // No line leads from one person to another.
  const isJoined = (k) => isKnown(k - 1) && isKnown(k) && windows[k - 1].person === windows[k].person;
  const x = (k) => axis.x(middleOf(windows[k]));
  context.beginPath();
  for (let k = Math.max(0, first - 1); k <= Math.min(last + 1, windows.length - 1); k += 1) {
    if (!isKnown(k)) continue;
    if (isJoined(k)) context.lineTo(x(k), y(windows[k].counted));
    else context.moveTo(x(k), y(windows[k].counted));
  }
  context.stroke();
  context.fillStyle = INK;
  for (let k = first; k <= last; k += 1) {
    const isAlone = !isJoined(k) && !isJoined(k + 1);
    const isRoomy = axis.x(windows[k].to) - axis.x(windows[k].from) > 24;
    if (!isKnown(k) || !(isAlone || isRoomy)) continue;
    context.beginPath();
    context.arc(x(k), y(windows[k].counted), 2.5, 0, 7);
    context.fill();
  }
}

function drawDenseCurve(context, model, axis, y) {
  const columns = columnRanges(model, axis, (window) => window.counted);
  columns.forEach(({ least, most }, k) => {
    const tall = Math.max(y(least) - y(most), 1);
    fill(context, "rgba(31, 41, 51, 0.22)", k * COLUMN_PX, y(most), COLUMN_PX + 0.3, tall);
  });
  context.beginPath();
  columns.forEach((column, k) => {
    const [x, mean] = [(k + 0.5) * COLUMN_PX, y(column.sum / column.count)];
    if (!columns[k - 1]) context.moveTo(x - 1, mean);
    context.lineTo(x, mean);
  });
  context.stroke();
}

// The waveform with stretches of speech; without a trace, each window's share of speech.
function drawSound(context, model, axis, top, height) {
  if (model.trace === null) drawSpeechShares(context, model, axis, top, height);
  else if (!model.trace.peaks.length) {
    hatch(context, 0, top, axis.width, height);
    writeIn(context, "no sound", [0, axis.width], top + height / 2, ON_WHITE);
  } else drawWaveform(context, model.trace, axis, top, height - 6);
}

function drawWaveform(context, trace, axis, top, height) {
  const middle = top + height / 2;
  let stretch = 0;
  for (let x = 0; x < axis.width; x += 1) {
    const [from, to] = [axis.time(x), axis.time(x + 1)];
    const first = Math.floor(from * trace.peaksHz);
    if (first >= trace.peaks.length) break;
    const last = Math.max(first + 1, Math.ceil(to * trace.peaksHz));
    let peak = 0;
    for (const value of trace.peaks.subarray(first, last)) peak = Math.max(peak, value);
    while (stretch < trace.speech.length && trace.speech[stretch][1] <= from) stretch += 1;
    const isSpeech = stretch < trace.speech.length && trace.speech[stretch][0] < to;
    const tall = Math.max(1, (peak / 255) * height);
    fill(context, isSpeech ? SPEECH_INK : SOUND_INK, x, middle - tall / 2, 1, tall);
  }
  for (const [from, to] of trace.speech) {
    if (to < axis.from || from > axis.to) continue;
    const [left, right] = axis.ends({ from, to });
    fill(context, SPEECH_INK, left, top + height + 2, Math.max(right - left, 1), 3);
  }
}

function drawSpeechShares(context, model, axis, top, height) {
  const base = top + height;
  const bar = (left, width, thousandths) => {
    const tall = (thousandths / 1000) * height;
    fill(context, SOUND_INK, left, base - tall, width + 0.3, tall);
  };
  if (isDense(model, axis)) {
    columnRanges(model, axis, (window) => window.speech_coverage).forEach(({ sum, count }, k) => {
      bar(k * COLUMN_PX, COLUMN_PX, sum / count);
    });
  } else {
    const [first, last] = shownWindows(model, axis);
    for (const window of model.windows.slice(first, last + 1)) {
      const [left, right] = axis.ends(window);
      bar(left, right - left, window.speech_coverage);
    }
  }
  fill(context, LINE, 0, base, axis.width, 1);
}

function timelineRows(model) {
  const rows = [
    { label: "Outcome", height: 22, draw: drawOutcomes },
    ...(model.isCrowd ? [{ label: "Who", height: 20, draw: drawNames }] : []),
    ...model.channels.map(({ key, label }) => ({
      label,
      height: 44,
      draw: (context, m, axis, top, height) => drawBand(context, m, axis, key, top, height),
    })),
    { label: "Conflict", note: "probability", height: 112, draw: drawConflict, ends: ["100%", "0%"] },
    model.trace === null
      ? { label: "Speech", note: "share", height: 30, draw: drawSound }
      : { label: "Sound", note: "▁ speech", height: 46, draw: drawSound },
  ];
  let top = 1;
  for (const row of rows) {
    row.top = top;
    top += row.height + 10;
  }
  return { rows, axisTop: top - 4, height: top + 20 };
}

function rowLabels(layout) {
  return layout.rows.map(({ label, note, ends, top, height }) => el(
    "div",
    { class: "fv-label", style: { top: `${top}px`, height: `${height}px` } },
    el("span", {}, label, note ? el("small", {}, note) : null),
    (ends ?? []).map((text, k) => el("span", { class: `fv-end fv-end-${k ? "bottom" : "top"}` }, text)),
  ));
}

function createTimeline(model, playhead, level) {
  const axis = new Axis(model.duration_s);
  const layout = timelineRows(model);
  const canvas = el("canvas", { "aria-hidden": "true" });
  const selected = el("div", { class: "fv-selected", "aria-hidden": "true" });
  const cursor = el("div", { class: "fv-cursor", "aria-hidden": "true" });
  const height = `${layout.height}px`;
  const slider = {
    class: "fv-area",
    role: "slider",
    tabindex: "0",
    "aria-label": "Place in the file",
    "aria-valuemin": "0",
    "aria-valuemax": String(model.duration_s),
    style: { height },
  };
  const area = el("div", slider, canvas, selected, cursor);
  const strip = createStrip(model, axis, () => schedule());
  const hint = el("p", { class: "fv-note" });
  const buttons = zoomButtons((factor) => zoom(factor));
  const steps = conflictButtons(model, playhead);
  const marks = { axis, model, playhead, area, cursor, selected, spoken: -1 };
  let frame = 0;

  function draw() {
    const context = fitCanvas(canvas, axis.width, layout.height);
    drawAxis(context, axis, layout.axisTop);
    for (const row of layout.rows) row.draw(context, model, axis, row.top, row.height);
    strip.draw();
    buttons.update(axis);
    hint.replaceChildren(...hints(isDense(model, axis)));
    placeMarks(marks);
  }

  function schedule() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); });
  }

  function resize(width) {
    if (width < 1) return;
    axis.width = width;
    draw();
  }

  function zoom(factor, time = playhead.time) {
    if (factor === 0) axis.whole();
    else axis.zoomTo(axis.shown / factor, time);
    schedule();
  }

  takePointer(marks, zoom, schedule);
  takeKeys(marks, zoom);
  const observer = new ResizeObserver(() => resize(area.clientWidth));
  observer.observe(area);
  const unprint = takePrint(axis, resize, () => area.clientWidth);
  const title = el("div", { class: "fv-bar-title" }, el(`h${level}`, {}, "Timeline"), steps.element, buttons.element);
  const plot = el(
    "div",
    { class: "fv-plot" },
    el("div", { class: "fv-labels", "aria-hidden": "true", style: { height } }, rowLabels(layout)),
    area,
    el("div", { class: "fv-labels fv-strip-label", "aria-hidden": "true" }, "All"),
    strip.element,
  );
  const legend = el(
    "ul",
    { class: "fv-legend", "aria-label": "Colours of emotions" },
    model.emotions.map((emotion) => el("li", {}, chip(emotion), emotion.name)),
  );
  return {
    element: el("section", { class: "fv-timeline" }, title, plot, hint, legend),
    // Brings the playhead into sight and marks it.
    show({ time, isChosen }) {
      if (!axis.holds(time)) {
        axis.moveTo(time - axis.shown * (isChosen ? 0.5 : 0.05));
        schedule();
      }
      placeMarks(marks);
      steps.update();
    },
    refresh() {
      marks.spoken = -1;
      strip.forget();
      schedule();
    },
    destroy() {
      cancelAnimationFrame(frame);
      observer.disconnect();
      unprint();
    },
  };
}

function hints(isAfar) {
  if (!isAfar) {
    return ["The height of a band is the probability of its emotion. Hatched: nothing to read or to compare."];
  }
  const zoom = el("span", { class: "fv-screen" }, " Zoom in for single windows.");
  const line = "of conflict, the dark line is the mean and the grey the range.";
  return [`Seen from afar: each column shows shares of its time; ${line}`, zoom];
}

function placeMarks(marks) {
  const { axis, model, playhead, area, cursor, selected } = marks;
  const place = windowAt(model, playhead.time);
  const x = Math.min(axis.x(playhead.time), axis.width - 1);
  cursor.style.display = axis.holds(playhead.time) ? "block" : "none";
  cursor.style.transform = `translateX(${x.toFixed(2)}px)`;
  const window = model.windows[place];
  const [left, right] = axis.ends(window);
  selected.style.display = right > left && model.windows.length > 1 ? "block" : "none";
  selected.style.left = `${left}px`;
  selected.style.width = `${Math.max(right - left, 1)}px`;
  if (marks.spoken === place && !playhead.isChosen) return;  // Not with every frame of a video.
  marks.spoken = place;
  area.setAttribute("aria-valuenow", playhead.time.toFixed(2));
  area.setAttribute("aria-valuetext", inWords(model, window, playhead.time));
}

// Goes to where the conflict before or after the playhead begins.
function conflictButtons(model, playhead) {
  const before = () => model.point.conflicts.findLast(({ to }) => to <= playhead.time);
  const after = () => model.point.conflicts.find(({ from }) => from > playhead.time);
  const make = (text, find) => el(
    "button",
    { type: "button", class: "fv-button", onclick: () => playhead.choose(find().from) },
    text,
  );
  const previous = make("Previous conflict", before);
  const next = make("Next conflict", after);
  return {
    element: el("div", { class: "fv-steps", role: "group", "aria-label": "Conflicts" }, previous, next),
    update() {
      previous.disabled = before() === undefined;
      next.disabled = after() === undefined;
    },
  };
}

function zoomButtons(zoom) {
  const make = (text, name, factor) => el(
    "button",
    { type: "button", class: "fv-button", "aria-label": name, title: name, onclick: () => zoom(factor) },
    text,
  );
  const out = make("−", "Zoom out", 0.5);
  const closer = make("+", "Zoom in", 2);
  const whole = make("Whole", "Show the whole file", 0);
  return {
    element: el("div", { class: "fv-zoom", role: "group", "aria-label": "Zoom" }, out, closer, whole),
    update(axis) {
      out.disabled = axis.isWhole;
      whole.disabled = axis.isWhole;
      closer.disabled = axis.isClosest;
    },
  };
}

// The outcomes of the whole file, whatever part is shown above, and where that part lies.
function createStrip(model, axis, changed) {
  const canvas = el("canvas");
  const brush = el("div", { class: "fv-brush" });
  const element = el("div", { class: "fv-strip", "aria-hidden": "true" }, canvas, brush);
  const move = (event) => {
    const box = element.getBoundingClientRect();
    const time = ((event.clientX - box.left) / box.width) * axis.duration;
    axis.moveTo(time - axis.shown / 2);
    changed();
  };
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    move(event);
  });
  element.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
  const whole = new Axis(axis.duration);
  return {
    element,
    forget() { whole.width = 0; },
    draw() {
      if (whole.width !== axis.width) {
        whole.width = axis.width;
        const context = fitCanvas(canvas, axis.width, STRIP_PX);
        drawShares(context, model, whole, (w) => w.outcome, model.outcomes, STRIP_PX, STRIP_PX);
      }
      element.classList.toggle("fv-strip-whole", axis.isWhole);
      brush.style.left = `${(100 * axis.from) / axis.duration}%`;
      brush.style.width = `max(3px, ${(100 * axis.shown) / axis.duration}%)`;
    },
  };
}

function takePointer({ area, axis, model, playhead }, zoom, schedule) {
  const timeAt = (event) => axis.time(event.clientX - area.getBoundingClientRect().left);
  area.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    area.setPointerCapture(event.pointerId);
    playhead.choose(timeAt(event));
  });
  area.addEventListener("pointermove", (event) => {
    const time = timeAt(event);
    if (event.buttons & 1) playhead.choose(time);
    else area.title = inWords(model, model.windows[windowAt(model, time)], time);
  });
  const wheel = (event) => {
    if (event.ctrlKey) {
      event.preventDefault();
      zoom(2 ** (-event.deltaY / 200), timeAt(event));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      if (axis.isWhole) return;
      event.preventDefault();
      axis.moveTo(axis.from + ((event.deltaX || event.deltaY) / axis.width) * axis.shown);
      schedule();
    }
  };
  area.addEventListener("wheel", wheel, { passive: false });
}

function takeKeys({ area, model, playhead }, zoom) {
  const last = model.windows.length - 1;
  const go = (place) => playhead.choose(middleOf(model.windows[Math.min(Math.max(place, 0), last)]));
  const step = (count) => () => go(windowAt(model, playhead.time) + count);
  const actions = {
    ArrowLeft: step(-1),
    ArrowDown: step(-1),
    ArrowRight: step(1),
    ArrowUp: step(1),
    PageDown: step(-PAGE_OF_WINDOWS),
    PageUp: step(PAGE_OF_WINDOWS),
    Home: () => go(0),
    End: () => go(last),
    "+": () => zoom(2),
    "=": () => zoom(2),
    "-": () => zoom(0.5),
    0: () => zoom(0),
    " ": () => playhead.togglePlay(),
  };
  area.addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });
}

// On paper the whole is shown, as wide as a page leaves room for.
function takePrint(axis, resize, widthNow) {
  let kept = null;
  const before = () => {
    kept = { from: axis.from, to: axis.to };
    axis.whole();
    resize(PRINT_PX);
  };
  const after = () => {
    Object.assign(axis, kept);
    resize(widthNow());
  };
  const events = { beforeprint: before, afterprint: after };
  for (const [name, react] of Object.entries(events)) window.addEventListener(name, react);
  return () => {
    for (const [name, react] of Object.entries(events)) window.removeEventListener(name, react);
  };
}
