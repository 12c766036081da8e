// Who is seen, where it is more than one: portraits, names that may be changed, and over the whole
// length when each is seen and speaks; and what each face shows, where everybody was asked for.

const FEW_PEOPLE = 8;
const LANE_PX = 8;
const WORDS_LANE_PX = 16;
const LONGEST_NAME = 60;

// `rename(person, name)`; null offers no renaming.
function createPeople(model, playhead, level, rename) {
  const list = el("ul", { class: "fv-people" });
  const kept = el("p", { class: "fv-note", role: "status" });
  const rows = shownPeople(model).map((person) => personRow(model, person, playhead, rename));
  list.append(...rows.map((row) => row.element));
  const more = el("button", { type: "button", class: "fv-button", onclick: () => showAll() }, `Show all ${model.people.length}`);
  more.hidden = rows.length === model.people.length;
  const hint = rename === null ? null : "click a name to change it";
  const title = el(`h${level}`, {}, "People", hint === null ? null : el("small", { class: "fv-screen" }, hint));
  const element = el("section", { "aria-label": "People" }, title, list, more, peopleLegend(model), kept);
  const show = () => {
    for (const { cursor } of rows) cursor.style.left = `${(100 * playhead.time) / Math.max(playhead.duration, 1e-3)}%`;
  };
  const showAll = () => {
    for (const row of rows) row.destroy();
    rows.splice(0, rows.length, ...model.people.map((person) => personRow(model, person, playhead, rename)));
    list.replaceChildren(...rows.map((row) => row.element));
    more.hidden = true;
    show();
  };
  return {
    element,
    show,
    refresh() {
      for (const row of rows) row.refresh();
      kept.replaceChildren(...howToKeep(model));
    },
    repaint() { for (const row of rows) row.draw(); },
    destroy() { for (const row of rows) row.destroy(); },
  };
}

// All, or of many those who are heard and seen for longest, in order of appearance.
function shownPeople(model) {
  const weight = ({ speaking_s: speaking, seen_s: seen }) => 10 * (speaking ?? 0) + seen;
  const first = [...model.people].sort((a, b) => weight(b) - weight(a)).slice(0, FEW_PEOPLE);
  return model.people.filter((person) => first.includes(person));
}

function personRow(model, person, playhead, rename) {
  const portrait = person.portrait === null
    ? el("span", { class: "fv-portrait" })
    : el("img", { class: "fv-portrait", src: person.portrait, alt: "" });
  const name = nameField(person, rename);
  const facts = [
    person.is_left_out ? "left out" : null,
    `seen ${clock(Math.round(person.seen_s))}`,
    person.speaking_s === null || person.is_left_out ? null : `speaks ${clock(Math.round(person.speaking_s))}`,
  ].filter((fact) => fact !== null);
  const canvas = el("canvas", { "aria-hidden": "true" });
  const cursor = el("div", { class: "fv-cursor", "aria-hidden": "true" });
  const height = personHeight(person);
  const bar = el("div", { class: "fv-person-bar", style: { height: `${height}px` } }, canvas, cursor);
  const axis = new Axis(model.duration_s);
  const draw = () => {
    axis.width = bar.clientWidth;
    if (axis.width > 0) drawPerson(fitCanvas(canvas, axis.width, height, model.look), model, person, axis);
  };
  bar.addEventListener("click", (event) => playhead.choose(axis.time(event.clientX - bar.getBoundingClientRect().left)));
  const observer = new ResizeObserver(draw);
  observer.observe(bar);
  const who = el("div", { class: "fv-who" }, name.element, el("small", {}, facts.join(" · ")));
  return {
    cursor,
    element: el("li", {}, portrait, who, bar),
    refresh() {
      name.refresh();
      draw();
    },
    draw,
    destroy() { observer.disconnect(); },
  };
}

// A name that becomes a field when it is clicked: Enter takes what was typed, Escape doesn't.
function nameField(person, rename) {
  if (rename === null) {
    const text = el("span", { class: "fv-name" }, person.name);
    return { element: text, refresh() { text.textContent = person.name; } };
  }
  const button = el("button", { type: "button", class: "fv-name", title: "Change this name" }, person.name);
  const input = el("input", { class: "fv-name", maxlength: LONGEST_NAME, "aria-label": `Name of person ${person.number}`, autocomplete: "off" });
  input.hidden = true;
  const edit = (isOn) => {
    button.hidden = isOn;
    input.hidden = !isOn;
  };
  const close = (isTaken) => {
    if (input.hidden) return;
    edit(false);
    if (isTaken) rename(person, input.value);
  };
  button.addEventListener("click", () => {
    input.value = person.name;
    edit(true);
    input.select();
    input.focus();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();  // Else Enter would click the button that it goes on to.
    close(event.key === "Enter");
    button.focus();
  });
  input.addEventListener("blur", () => close(true));
  return {
    element: el("span", {}, button, input),
    refresh() { button.textContent = person.name; },
  };
}

function howToKeep(model) {
  const named = model.people.filter((person) => person.name !== person.givenName);
  if (!named.length) return [];
  const quoted = (text) => (/^[\w.,@%+=:/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const options = named.map(({ number, name }) => `--name ${quoted(`${number}=${name}`)}`).join(" ");
  const command = `facevoice report ${quoted(model.title)} ${options}`;
  return ["Names are changed on this page only, until it is closed. To keep them: ", el("code", {}, command)];
}

function personHeight(person) {
  return 2 * LANE_PX + 2 + (person.windows.length ? 2 * (WORDS_LANE_PX + 2) + 4 : 0);
}

function drawPerson(context, model, person, axis) {
  const lanes = [[0, person.seen, context.look.seen], [LANE_PX + 2, person.speaking, context.look.speech]];
  for (const [top, spans, color] of lanes) {
    fill(context, context.look.lane, 0, top, axis.width, LANE_PX);
    for (const [from, to] of spans) {
      const [left, right] = axis.ends({ from, to });
      fill(context, color, left, top, Math.max(right - left, 1), LANE_PX);
    }
  }
  if (!person.windows.length) return;
  const outcomes = 2 * LANE_PX + 8;
  const emotions = outcomes + WORDS_LANE_PX + 2;
  for (const top of [outcomes, emotions]) fill(context, context.look.lane, 0, top, axis.width, WORDS_LANE_PX);
  drawStretches(context, person.windows, axis, ({ outcomeOf }) => outcomeOf, outcomes);
  const shown = ({ faceTop }) => (faceTop === null ? null : model.emotions[faceTop.emotion]);
  drawStretches(context, person.windows, axis, shown, emotions);
}

// Neighbours of one look are a stretch, with its name where there is room.
function drawStretches(context, windows, axis, lookOf, top) {
  let stretch = null;
  const end = () => {
    if (stretch === null) return;
    const [left, right] = axis.ends(stretch);
    fill(context, stretch.look.color, left, top, Math.max(right - left - 0.5, 0.5), WORDS_LANE_PX);
    writeIn(context, stretch.look.name, [left, right], top + WORDS_LANE_PX / 2, { ink: stretch.look.ink, size: 11 });
  };
  for (const window of windows) {
    const look = lookOf(window);
    if (stretch !== null && stretch.look === look && window.from - stretch.to < 1e-3) {
      stretch.to = window.to;
      continue;
    }
    end();
    stretch = look === null ? null : { from: window.from, to: window.to, look };
  }
  end();
}

function peopleLegend(model) {
  const mark = (color, words) => el("li", {}, el("span", { class: "fv-chip", style: { background: color }, "aria-hidden": "true" }), words);
  const has = (key) => model.people.some((person) => person[key].length > 0);
  return el(
    "ul",
    { class: "fv-legend" },
    has("seen") ? mark("var(--fv-seen)", "seen") : null,
    has("speaking") ? mark("var(--fv-speech)", "speaking") : null,
    has("windows") ? el("li", {}, "below: the outcome, and what the face shows") : null,
  );
}
