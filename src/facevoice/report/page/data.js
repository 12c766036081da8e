// The view of `to_view` with its rows and packed numbers opened, and how its values are worded.

const NBSP = "\u00a0";
const CHANNELS = [
  { key: "face", label: "Face" },
  { key: "voice", label: "Voice" },
  { key: "fused", label: "Both" },
];

function openView(view) {
  const open = (row) => {
    const window = {};
    view.window_fields.forEach((name, k) => { window[name] = row[k]; });
    window.outcomeOf = view.outcomes[window.outcome];
    window.reasonsOf = window.reasons.map((k) => view.reasons[k]);
    for (const { key } of CHANNELS) window[`${key}Top`] = likeliest(window[key]);
    return window;
  };
  return {
    ...view,
    windows: view.windows.map(open),
    summary: view.summary === null ? null : open(view.summary),
    trace: view.trace === null ? null : openTrace(view.trace),
  };
}

function openTrace(trace) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const times = new DataView(bytes(trace.faces.times).buffer);
  const boxes = new DataView(bytes(trace.faces.boxes).buffer);
  const faceTimes = Array.from({ length: times.byteLength / 4 }, (_, k) =>
    times.getInt32(4 * k, true) / 1000);
  const faceBoxes = Array.from({ length: boxes.byteLength / 2 }, (_, k) =>
    boxes.getInt16(2 * k, true) / 1000);
  const names = new Map();  // People are numbered as they appear.
  const tracks = [];
  for (const [who, count] of trace.faces.tracks) {
    if (!names.has(who)) names.set(who, names.size + 1);
    for (let k = 0; k < count; k += 1) tracks.push(names.get(who));
  }
  return {
    peaksHz: trace.peaks_hz,
    peaks: bytes(trace.peaks),
    speech: trace.speech,
    faceTimes,
    faceBoxes,
    tracks,
  };
}

function likeliest(probs) {
  if (probs === null) return null;
  let best = 0;
  probs.forEach((p, k) => { if (p > probs[best]) best = k; });
  return { emotion: best, prob: probs[best] };
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
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const two = (n) => String(n).padStart(2, "0");
  const head = hours ? `${hours}:${two(minutes)}` : String(minutes);
  const tail = digits ? `.${String(units % factor).padStart(digits, "0")}` : "";
  return `${head}:${two(whole % 60)}${tail}`;
}

function span(window) {
  const digits = [window.start, window.end].every((t) => Math.abs(t - Math.round(t)) < 1e-3) ? 0 : 1;
  return `${clock(window.start, digits)}–${clock(window.end, digits)}`;
}

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)}${NBSP}s`;
  return `${(seconds / 60).toFixed(seconds < 600 ? 1 : 0)}${NBSP}min`;
}

function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
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

// "0:12, face happy 74%, voice calm 84%, flat"
function inWords(model, window, time) {
  const parts = [clock(time)];
  for (const key of ["face", "voice"]) {
    const said = reading(model, window[`${key}Top`]);
    parts.push(said === null ? `no ${key}` : `${key} ${said}`);
  }
  parts.push(window.outcomeOf.name);
  return parts.join(", ");
}
