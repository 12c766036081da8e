// What the rows of the timeline show, each drawn into its strip of one canvas.

// Narrower windows are shown as shares of time, in columns of pixels.
const LEAST_WINDOW_PX = 2.5;
const COLUMN_PX = 4;
const NAME_PX = 15;
const CURVES_PX = 96;
const ZONE_ALPHA = "38";
const ZONE_NAMES_PX = 64;
// How a channel's line is drawn where several share a row.
const CHANNEL_LINES = {
  face: { dash: [], ink: "ink" },
  voice: { dash: [6, 3], ink: "accent" },
  fused: { dash: [1.5, 3], ink: "soft" },
};

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
  fill(context, context.look["hatch-ground"], x, y, width, height);
  context.strokeStyle = context.look.hatch;
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
function writeIn(context, text, [left, right], y, { ink = context.look.ink, ground = null, size = 12 } = {}) {
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

function onGround({ look }) {
  return { ink: look.soft, ground: look.ground };
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
    fill(context, context.look[run.kind % 2 ? "name-odd" : "name-even"], left, top, Math.max(right - left - 1, 0.5), height);
    writeIn(context, name, [left, right], top + height / 2);
  }
}

// The height of a band tells the probability; its name stands above.
function drawBand(context, model, axis, key, top, height) {
  const base = top + height;
  const room = height - NAME_PX;
  const kindOf = (window) => window[`${key}Top`]?.emotion ?? null;
  const stretches = runs(model, axis, kindOf);
  hatchMissing(context, axis, stretches, base - room, room);
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
  fill(context, context.look.line, 0, base, axis.width, 1);
  nameStretches(context, model, axis, stretches, key, top, base - room / 2);
}

function hatchMissing(context, axis, stretches, top, height) {
  for (const run of stretches.filter(({ kind }) => kind === null)) {
    const [left, right] = axis.ends(run);
    hatch(context, left, top, Math.max(right - left, 1), height);
  }
}

function nameStretches(context, model, axis, stretches, key, top, middle) {
  for (const run of stretches) {
    const ends = axis.ends(run);
    if (run.kind !== null) writeIn(context, model.emotions[run.kind].name, ends, top + 7);
    else writeIn(context, whyMissing(run.first, key), ends, middle, onGround(context));
  }
}

function drawConflict(context, model, axis, top, height) {
  const y = (thousandths) => top + height * (1 - thousandths / 1000);
  const { zones } = model.point;
  if (zones.length) drawZones(context, model, axis, y);
  for (const run of runs(model, axis, (window) => window.counted === null)) {
    if (!run.kind) continue;
    const [left, right] = axis.ends(run);
    hatch(context, left, top, Math.max(right - left, 1), height);
    const room = [left, Math.min(right, axis.width - ZONE_NAMES_PX)];
    writeIn(context, "not compared", room, top + height / 4, onGround(context));
  }
  context.strokeStyle = context.look.line;
  context.lineWidth = 1;
  context.strokeRect(0.5, top + 0.5, axis.width - 1, height);
  drawLine(context, model, axis, (window) => window.counted, y, { width: 1.75, hasRange: true });
  nameZones(context, zones, axis, y);
}

// The outer zones have lines of their colours, those between are shaded.
function drawZones(context, model, axis, y) {
  const [match, between, conflict] = model.point.zones;
  const color = ({ words }) => model.outcomes.find(({ name }) => name === words).color;
  fill(context, `${color(between)}${ZONE_ALPHA}`, 0, y(between.to), axis.width, y(between.from) - y(between.to));
  for (const [value, zone] of [[conflict.from, conflict], [match.to, match]]) {
    fill(context, color(zone), 0, Math.round(y(value)) - 0.5, axis.width, 1);
  }
}

function nameZones(context, zones, axis, y) {
  context.font = `11px ${FONT}`;
  for (const zone of zones) {
    const room = y(zone.from) - y(zone.to);
    if (room < 13) continue;
    const width = context.measureText(zone.words).width + 10;
    const options = { ink: context.look.soft, ground: `${context.look.ground}D9`, size: 11 };
    writeIn(context, zone.words, [axis.width - width, axis.width - 1], y(zone.to) + room / 2, options);
  }
}

// A number of each window as a line; from afar the mean of each column and, if asked for, its range.
function drawLine(context, model, axis, valueOf, y, { ink = context.look.ink, width = 1.5, dash = [], hasRange = false } = {}) {
  context.strokeStyle = ink;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.setLineDash(dash);
  if (isDense(model, axis)) strokeColumns(context, columnRanges(model, axis, valueOf), y, hasRange);
  else strokeWindows(context, model, axis, valueOf, y, ink);
  context.setLineDash([]);
}

function strokeWindows(context, model, axis, valueOf, y, ink) {
  const [first, last] = shownWindows(model, axis);
  const { windows } = model;
  const value = (k) => (windows[k] === undefined ? null : valueOf(windows[k]));
  // No line leads from one person to another.
  const isJoined = (k) => value(k - 1) !== null && value(k) !== null && windows[k - 1].person === windows[k].person;
  const x = (k) => axis.x(middleOf(windows[k]));
  context.beginPath();
  for (let k = Math.max(0, first - 1); k <= Math.min(last + 1, windows.length - 1); k += 1) {
    if (value(k) === null) continue;
    if (isJoined(k)) context.lineTo(x(k), y(value(k)));
    else context.moveTo(x(k), y(value(k)));
  }
  context.stroke();
  context.fillStyle = ink;
  for (let k = first; k <= last; k += 1) {
    const isAlone = !isJoined(k) && !isJoined(k + 1);
    const isRoomy = axis.x(windows[k].to) - axis.x(windows[k].from) > 24;
    if (value(k) === null || !(isAlone || isRoomy)) continue;
    context.beginPath();
    context.arc(x(k), y(value(k)), 2.5, 0, 7);
    context.fill();
  }
}

function strokeColumns(context, columns, y, hasRange) {
  if (hasRange) {
    columns.forEach(({ least, most }, k) => {
      const tall = Math.max(y(least) - y(most), 1);
      fill(context, `${context.look.ink}38`, k * COLUMN_PX, y(most), COLUMN_PX + 0.3, tall);
    });
  }
  context.beginPath();
  columns.forEach((column, k) => {
    const [x, mean] = [(k + 0.5) * COLUMN_PX, y(column.sum / column.count)];
    if (!columns[k - 1]) context.moveTo(x - 1, mean);
    context.lineTo(x, mean);
  });
  context.stroke();
}

// Eight lines instead of one band; above stand the names of the likeliest.
function drawCurves(context, model, axis, key, top, height) {
  const base = top + height;
  const room = height - NAME_PX;
  const y = (thousandths) => base - (thousandths / 1000) * room;
  const stretches = runs(model, axis, (window) => window[`${key}Top`]?.emotion ?? null);
  hatchMissing(context, axis, stretches, base - room, room);
  for (const part of [500, 1000]) fill(context, `${context.look.line}73`, 0, Math.round(y(part)), axis.width, 1);
  model.emotions.forEach(({ color }, k) => {
    drawLine(context, model, axis, (window) => window[key]?.[k] ?? null, y, { ink: color });
  });
  fill(context, context.look.line, 0, base, axis.width, 1);
  nameStretches(context, model, axis, stretches, key, top, base - room / 2);
}

// Valence or arousal, from -1 to 1, of each channel.
function drawAffect(context, model, axis, part, top, height) {
  const y = (value) => top + (height * (1 - value)) / 2;
  context.strokeStyle = context.look.line;
  context.lineWidth = 1;
  context.strokeRect(0.5, top + 0.5, axis.width - 1, height);
  fill(context, context.look.line, 0, Math.round(y(0)), axis.width, 1);
  for (const { key } of model.channels) {
    const { dash, ink } = CHANNEL_LINES[key];
    drawLine(context, model, axis, (window) => affectOf(model, window[key], part), y, { ink: context.look[ink], dash });
  }
}

// The waveform with stretches of speech; without a trace, each window's share of speech.
function drawSound(context, model, axis, top, height) {
  if (model.trace === null) drawSpeechShares(context, model, axis, top, height);
  else if (!model.trace.peaks.length) {
    hatch(context, 0, top, axis.width, height);
    writeIn(context, "no sound", [0, axis.width], top + height / 2, onGround(context));
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
    fill(context, isSpeech ? context.look.speech : context.look.sound, x, middle - tall / 2, 1, tall);
  }
  for (const [from, to] of trace.speech) {
    if (to < axis.from || from > axis.to) continue;
    const [left, right] = axis.ends({ from, to });
    fill(context, context.look.speech, left, top + height + 2, Math.max(right - left, 1), 3);
  }
}

function drawSpeechShares(context, model, axis, top, height) {
  const base = top + height;
  const bar = (left, width, thousandths) => {
    const tall = (thousandths / 1000) * height;
    fill(context, context.look.sound, left, base - tall, width + 0.3, tall);
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
  fill(context, context.look.line, 0, base, axis.width, 1);
}

const CONFLICT_ROW = { label: "Conflict", note: "probability", height: 92, draw: drawConflict, ends: ["100%", "0%"] };

// Those that are always there, and those that are switched on: {curves, affect}.
function timelineRows(model, { curves, affect }) {
  const band = curves ? drawCurves : drawBand;
  const channelRow = ({ key, label }) => ({
    label,
    height: curves ? CURVES_PX : 38,
    ends: curves ? ["100%", "0%"] : [],
    endsTop: NAME_PX,
    draw: (context, m, axis, top, height) => band(context, m, axis, key, top, height),
  });
  const affectRow = (part, label) => ({
    label,
    height: 64,
    ends: ["+1", "−1"],
    draw: (context, m, axis, top, height) => drawAffect(context, m, axis, part, top, height),
  });
  const rows = [
    ...(model.lone === null ? [{ label: "Outcome", height: 22, draw: drawOutcomes }] : []),
    ...(model.isCrowd ? [{ label: "Who", height: 20, draw: drawNames }] : []),
    ...model.channels.map(channelRow),
    ...(affect ? [affectRow("valence", "Valence"), affectRow("arousal", "Arousal")] : []),
    ...(model.lone === null ? [{ ...CONFLICT_ROW }] : []),
    model.trace === null
      ? { label: "Speech", note: "share", height: 30, draw: drawSound }
      : { label: "Sound", note: "▁ speech", height: 38, draw: drawSound },
  ];
  let top = 1;
  for (const row of rows) {
    row.top = top;
    top += row.height + 8;
  }
  return { rows, axisTop: top - 4, height: top + 20 };
}
