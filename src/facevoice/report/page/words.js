// The view of `to_view` with its rows and packed numbers opened, how its values are worded, and the
// small elements that show them. What outcomes, emotions and reasons are called and look like comes
// with the view.

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

// Which of its colours holds depends on the ground, see theme.js.
function withColours(view) {
  const coloured = (item, place) => ({ ...item, place, light: item.color, light_ink: item.ink });
  return { ...view, emotions: view.emotions.map(coloured), outcomes: view.outcomes.map(coloured) };
}

// Heads of columns; those of numbers stand to the right.
function headRow(names, numbers = []) {
  const cells = names.map((name) =>
    el("th", { scope: "col", class: numbers.includes(name) ? "fv-number" : null }, name));
  return el("thead", {}, el("tr", {}, cells));
}

function openView(view) {
  view = withColours(view);
  const open = (row) => {
    const window = {};
    view.window_fields.forEach((name, k) => { window[name] = row[k]; });
    for (const { key } of view.channels) window[`${key}Top`] = likeliest(window[key]);
    decide(view, window, window.outcome, window.reasons);
    return window;
  };
  const openPoint = (point) => {
    const moments = point.moments.map((m) => ({ ...m, outcomeOf: view.outcomes[m.outcome] }));
    const conflicts = moments.filter((m) => m.outcomeOf.name === "conflict");
    return { ...point, moments, conflicts, summary: point.summary === null ? null : open(point.summary) };
  };
  const openPerson = (person) => {
    const windows = person.windows.map(open);
    return { ...person, givenName: person.name, windows };
  };
  const model = {
    ...view,
    windows: view.windows.map(open),
    people: view.people.map(openPerson),
    points: view.points.map(openPoint),
    trace: view.trace === null ? null : openTrace(view.trace),
  };
  model.owners = new Map(model.people.flatMap((person) => person.tracks.map((track) => [track, person])));
  // A lone person needs no name.
  model.isCrowd = model.people.filter((person) => !person.is_left_out).length > 1;
  // Of a file with one channel only, nothing is compared: the page tells of that channel.
  model.lone = { audio_only: "voice", video_only: "face" }[view.status] ?? null;
  if (model.lone !== null) model.channels = view.channels.filter(({ key }) => key === model.lone);
  usePoint(model, view.chosen);
  return model;
}

// What people are called, where more than one is seen; null for nobody.
function nameOf(model, number) {
  const person = model.isCrowd ? model.people.find((one) => one.number === number) : undefined;
  return person === undefined || person.is_left_out ? null : person.name;
}

// Text, and numbers of people where their names stand.
function inFull(model, pieces) {
  const name = (number) => model.people.find((person) => person.number === number).name;
  return pieces.map((piece) => (typeof piece === "number" ? name(piece) : piece)).join("");
}

// Takes over what was decided at one sensitivity; no rule of it stands here.
function usePoint(model, place) {
  model.chosen = place;
  model.point = model.points[place];
  const { outcomes, reasons } = model.point;
  model.windows.forEach((window, k) => decide(model, window, outcomes[k], reasons[k]));
  model.people.forEach(({ windows }, k) => {
    const said = model.point.people[k];
    windows.forEach((window, j) => decide(model, window, said.outcomes[j], said.reasons[j]));
  });
}

function decide(model, window, outcome, reasons) {
  window.outcome = outcome;
  window.outcomeOf = model.outcomes[outcome];
  window.reasonsOf = reasons.map((k) => model.reasons[k]);
  // Why face and voice, both read, aren't compared; null where they are, or one isn't read.
  window.apart = window.reasonsOf.find((reason) => reason.apart !== null)?.apart ?? null;
  // The probability of conflict, null where it counts for nothing.
  window.isStrange = window.reasonsOf.some((reason) => reason.name.startsWith("unfamiliar_"));
  window.counted = window.outcomeOf.counts && !window.isStrange ? window.conflict : null;
}

function openTrace({ peaks_hz: peaksHz, peaks, speech, faces }) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const times = new DataView(bytes(faces.times).buffer);
  const boxes = new DataView(bytes(faces.boxes).buffer);
  const tracks = new Map();  // Of each, sightings in order of time.
  let place = 0;
  for (const [who, count] of faces.tracks) {
    if (!tracks.has(who)) tracks.set(who, { who, times: [], boxes: [] });
    const track = tracks.get(who);
    for (const last = place + count; place < last; place += 1) {
      track.times.push(times.getInt32(4 * place, true) / 1000);
      track.boxes.push([0, 1, 2, 3].map((k) => boxes.getInt16(2 * (4 * place + k), true) / 1000));
    }
  }
  return { peaksHz, peaks: bytes(peaks), speech, tracks: [...tracks.values()] };
}

// Lines of the transcript as one text, each speaker named where one takes over; "" for none.
function wordsOf(model, places) {
  let before = null;
  return places.map((place) => {
    const [, , speaker, words] = model.transcript.lines[place];
    const name = speaker !== null && speaker !== before ? `${speaker}: ` : "";
    before = speaker;
    return `${name}${words}`;
  }).join(" ");
}

// A paragraph in the words' own direction, or nothing.
function spoken(words, tag = "p") {
  return words === "" ? null : el(tag, { class: "fv-words", dir: "auto" }, words);
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
function hundredths(thousandths) {
  return Math.min(Math.max(Math.round(thousandths / 10), 1), 99);
}

function percent(thousandths) {
  return `${hundredths(thousandths)}%`;
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

function span(from, to) {
  const isWhole = (t) => Math.abs(t - Math.round(t)) < 1e-3;
  const digits = isWhole(from) && isWhole(to) ? 0 : 1;
  return `${clock(from, digits)}–${clock(to, digits)}`;
}

function clockUnit(model) {
  return model.duration_s < 3600 ? "min:s" : "h:min:s";
}

function reading(model, top) {
  return top === null ? null : `${model.emotions[top.emotion].name} ${percent(top.prob)}`;
}

// "the face looks happy (74%)", "Anna's face looks happy (74%)", or why it says nothing.
function told(model, window, key, name = ownerOf(model, window, key)) {
  const top = window[`${key}Top`];
  if (top === null) return whyMissing(window, key);
  const verb = key === "face" ? "looks" : "sounds";
  return `${name} ${verb} ${model.emotions[top.emotion].name} (${percent(top.prob)})`;
}

function ownerOf(model, window, key) {
  const name = key === "face" ? nameOf(model, window.person) : null;
  return name === null ? `the ${key}` : `${name}'s ${key}`;
}

// With how many windows a channel was compared; null where nothing is compared.
function knownWords(number) {
  if (number === null) return null;
  if (number === 0) return "not yet";
  return `from ${number} ${number === 1 ? "window" : "windows"}`;
}

// Why a channel says nothing in a window.
function whyMissing(window, key) {
  if (key === "fused" && window.apart !== null) return window.apart;
  const about = key === "fused" ? ["face", "voice"] : [key];
  const own = window.reasonsOf.filter((reason) => about.includes(reason.about));
  const general = window.reasonsOf.filter((reason) => reason.name === "too_short");
  const named = (own.length ? own : general).map((reason) => reason.words);
  return named.length ? named.join(", ") : "not enough evidence";
}

// Clauses beside an outcome: where an open one leans, then the reasons.
function remarks(window) {
  const leans = window.outcomeOf.name === "undecided" && !window.isStrange;
  const lean = leans ? [leanOf(window.conflict)] : [];
  return [...lean, ...window.reasonsOf.map((reason) => reason.words)];
}

function leanOf(conflict) {
  if (hundredths(conflict) === 50) return "it leans neither way";
  return conflict > 500 ? "it leans to conflict" : "it leans to match";
}

function capital(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

// "0:12, the face looks happy (74%), the voice sounds calm (84%): flat"
function inWords(model, window, time) {
  const clauses = new Set(["face", "voice"].map((key) => told(model, window, key)));
  return `${[clock(time), ...clauses].join(", ")}: ${window.outcomeOf.name}`;
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

// Shapes tell outcomes apart without colour: disc, diamond, half disc, bar, ring.
function outcomeShape(outcome) {
  const shape = el("span", { class: `fv-shape fv-shape-${outcome.shape}`, "aria-hidden": "true" });
  shape.style.setProperty("--fv-color", `var(--fv-outcome-${outcome.place})`);
  return shape;
}

function outcomeBadge(outcome) {
  const shape = `fv-shape fv-shape-${outcome.shape} fv-shape-ink`;
  return el(
    "span",
    { class: "fv-badge", style: { background: `var(--fv-outcome-${outcome.place})`, color: `var(--fv-outcome-${outcome.place}-ink)` } },
    el("span", { class: shape, "aria-hidden": "true" }),
    outcome.name,
  );
}

function chip(emotion) {
  return el("span", { class: "fv-chip", style: { background: `var(--fv-emotion-${emotion.place})` }, "aria-hidden": "true" });
}

// A canvas that fills its box at the screen's own resolution; its context counts in CSS pixels and
// knows the page's colours.
function fitCanvas(canvas, width, height, look) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = canvas.getContext("2d");
  context.look = look;
  context.setTransform(w / width, 0, 0, h / height, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

function fill(context, color, x, y, width, height) {
  context.fillStyle = color;
  context.fillRect(x, y, width, height);
}

// What the eight probabilities come to on the circumplex, from -1 to 1; part: "valence", "arousal".
function affectOf(model, probs, part) {
  if (probs === null) return null;
  let [sum, whole] = [0, 0];
  for (let k = 0; k < probs.length; k += 1) {
    sum += probs[k] * model.emotions[k][part];
    whole += probs[k];
  }
  return whole > 0 ? sum / whole : null;
}

// +0.42, −0.10; "–" for none.
function signed(value) {
  if (value === null) return "–";
  const text = Math.abs(value).toFixed(2);
  return `${value < 0 && text !== "0.00" ? "−" : "+"}${text}`;
}
