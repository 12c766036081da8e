// What is said in words and tables around the timeline, and the putting together of all parts; the
// only thing that the page around sees is `window.facevoice.mount`.
//
// A part is {element, show, refresh, destroy}: `show` when the playhead has moved, `refresh` when
// another sensitivity or name was chosen; only the first must be there.

const FEW_MOMENTS = 12;

// The file and its answer; the answer alone changes with the sensitivity, and is then read out.
function createHeader(model, level) {
  const count = model.windows.length;
  const facts = [
    model.duration_s > 0 ? clock(model.duration_s) : null,
    count ? `${count} window${count === 1 ? "" : "s"}` : null,
    model.statuses[model.status] ?? null,
  ].filter((fact) => fact !== null);
  const answer = el("div", { "aria-live": "polite" }, answerParts(model));
  const element = el(
    "header",
    { class: "fv-header" },
    el(`h${level}`, { class: "fv-title" }, model.title),
    facts.length ? el("p", { class: "fv-meta" }, facts.join(" · ")) : null,
    answer,
    model.heard ? el("p", { class: "fv-note" }, model.heard) : null,
    el("p", { class: "fv-notice", role: "note" }, model.notice),
  );
  return { element, refresh() { answer.replaceChildren(...answerParts(model)); } };
}

// One answer for a short file, counts for a long one.
function answerParts(model) {
  const { summary, sentence, counts } = model.point;
  const failed = model.status === "failed" ? "not analysed" : "nothing read";
  const hasCounts = summary === null && model.windows.length > 0;
  const badge = summary === null
    ? el("span", { class: "fv-badge fv-badge-failed" }, failed)
    : outcomeBadge(summary.outcomeOf);
  const items = model.outcomes.map((outcome, k) =>
    (counts[k] ? el("li", {}, outcomeShape(outcome), `${counts[k]} ${outcome.name}`) : null));
  return [
    el("p", { class: "fv-sentence" }, hasCounts ? null : badge, el("span", {}, inFull(model, sentence))),
    ...(hasCounts ? [el("ul", { class: "fv-counts", "aria-label": "Windows of each outcome" }, items)] : []),
  ];
}

let numMounted = 0;

// At which sensitivity the page is read; `choose(place)` is told of another, null offers none.
function createPoints(model, choose) {
  numMounted += 1;
  const name = `fv-points-${numMounted}`;
  const meaning = el("p", { class: "fv-note", id: name, "aria-live": "polite" });
  const radio = (point, k) => el(
    "label",
    {},
    el("input", { type: "radio", name, checked: k === model.chosen, autocomplete: "off", onchange: () => choose(k) }),
    point.name,
  );
  const refresh = () => { meaning.textContent = model.point.meaning; };
  refresh();
  const legend = el("legend", {}, "How readily is a match or conflict called?");
  const options = choose === null
    ? null
    : el("fieldset", { "aria-describedby": name }, legend, model.points.map(radio));
  return { element: el("div", { class: "fv-points" }, options, meaning), refresh };
}

// The moments to jump to: conflicts from the strongest on, then the others as they come.
function createMoments(model, playhead, level, jump) {
  const list = el("ul", { class: "fv-moments" });
  const more = el("button", { type: "button", class: "fv-button", onclick: () => showAll() });
  const title = el(`h${level}`, {}, "Moments", el("small", {}, "strongest conflicts first"));
  const element = el("section", {}, title, list, more);
  let rows = [];
  let isWhole = false;
  const show = () => {
    const { moments } = model.point;
    const here = moments[lastBefore(moments, playhead.time, ({ from }) => from)];
    for (const { moment, button } of rows) {
      const isHere = String(moment === here);
      if (button.getAttribute("aria-current") !== isHere) button.setAttribute("aria-current", isHere);
    }
  };
  const refresh = () => {
    const { moments, strongest } = model.point;
    const first = strongest.map((k) => moments[k]);
    const all = [...first, ...moments.filter((moment) => !model.point.conflicts.includes(moment))];
    rows = all.slice(0, isWhole ? all.length : FEW_MOMENTS).map((moment) => momentRow(model, moment, jump));
    list.replaceChildren(...rows.map((row) => row.element));
    more.textContent = `Show all ${all.length}`;
    more.hidden = rows.length === all.length;
    element.hidden = all.length === 1 && model.point.summary !== null;  // The answer has said it.
    show();
  };
  const showAll = () => {
    isWhole = true;
    refresh();
    rows[FEW_MOMENTS].button.focus();
  };
  refresh();
  return { element, show, refresh };
}

function momentRow(model, moment, jump) {
  const time = span(moment.from, moment.to);
  const attributes = { type: "button", class: "fv-link", title: "Go there", onclick: () => jump(moment.from) };
  const button = el("button", attributes, time);
  const outcome = el("span", { class: "fv-nowrap" }, outcomeShape(moment.outcomeOf), moment.outcomeOf.name);
  const words = spoken(wordsOf(model, moment.lines), "span");
  return { moment, button, element: el("li", {}, button, outcome, el("span", {}, inFull(model, moment.words)), words) };
}

function createFooter(model) {
  const models = Object.entries(model.models).map(([role, name]) => `${role}: ${name}`);
  return el(
    "footer",
    { class: "fv-footer" },
    el("p", {}, `facevoice ${model.version}`),
    models.length ? el("p", {}, `Models: ${models.join(", ")}`) : null,
    model.sha256 === null ? null : el("p", {}, "SHA-256 of the file: ", el("code", {}, model.sha256)),
  );
}

// What is said in the whole file: lines to jump to, or a text that has no times.
function createTranscript(model, level, jump) {
  const { source, remarks, lines, text } = model.transcript;
  const list = el("ul", { class: "fv-moments fv-lines" });
  const build = () => {
    if (list.childElementCount) return;
    list.append(...lines.map(([from, to, speaker, words]) => {
      const attributes = { type: "button", class: "fv-link", title: "Go there", onclick: () => jump(from) };
      const name = speaker === null ? null : el("small", {}, speaker);
      return el("li", {}, el("button", attributes, span(from, to)), el("span", { dir: "auto" }, words, name));
    }));
  };
  const count = `All ${lines.length} line${lines.length === 1 ? "" : "s"}`;
  const body = lines.length
    ? el("details", { class: "fv-details", ontoggle: build }, el("summary", {}, count), list)
    : spoken(text);
  const notes = remarks.map((remark) => el("p", { class: "fv-note" }, `${capital(remark)}.`));
  const title = el(`h${level}`, {}, "Words", el("small", {}, `from ${source}`));
  return { element: el("section", { class: "fv-transcript" }, title, notes, body) };
}

function headRow(names, numbers = []) {
  const cells = names.map((name) =>
    el("th", { scope: "col", class: numbers.includes(name) ? "fv-number" : null }, name));
  return el("thead", {}, el("tr", {}, cells));
}

function createSummary(model, level) {
  const element = el("section", {});
  const refresh = () => {
    const { summary } = model.point;
    const overall = summary !== null && model.windows.length > 1
      ? [
        el(`h${level + 1}`, { class: "fv-sub" }, "All windows taken together"),
        facts(summary),
        distributions(model, summary),
      ]
      : [];
    element.replaceChildren(el(`h${level}`, {}, "Summary"), outcomeTable(model), ...overall);
  };
  refresh();
  return { element, refresh };
}

function outcomeTable(model) {
  const { counts, seconds } = model.point;
  const whole = Math.max(1e-9, seconds.reduce((a, b) => a + b, 0));
  const rows = model.outcomes.map((outcome, k) => el(
    "tr",
    {},
    el("th", { scope: "row" }, outcomeShape(outcome), outcome.name, el("small", { class: "fv-below" }, outcome.words)),
    el("td", { class: "fv-number" }, String(counts[k])),
    el("td", { class: "fv-number" }, clock(seconds[k])),
    el("td", { class: "fv-number" }, String(Math.round((100 * seconds[k]) / whole))),
    el("td", { class: "fv-meaning" }, outcome.words),
  ));
  const numbers = ["Windows", `Time (${clockUnit(model)})`, "Share (%)"];
  const head = headRow(["Outcome", ...numbers, "Meaning"], numbers);
  return el("table", { class: "fv-table fv-outcomes" }, head, el("tbody", {}, rows));
}

// All windows as a table, also the timeline's text; built when it is opened.
function createTable(model, onPick) {
  const body = el("tbody");
  const channels = model.channels.map(({ label }) => label);
  const who = model.isCrowd ? ["Who"] : [];
  const names = [`Time (${clockUnit(model)})`, ...who, "Outcome", "Conflict (%)", ...channels, "Remarks"];
  const head = headRow(names, ["Conflict (%)"]);
  const table = el("table", { class: "fv-table fv-windows" }, head, body);
  const build = () => {
    if (!body.childElementCount) body.append(...model.windows.map((w, k) => windowRow(model, w, k)));
  };
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) onPick(model.windows[Number(button.dataset.window)]);
  });
  const count = model.windows.length;
  const element = el(
    "details",
    { class: "fv-details", ontoggle: build },
    el("summary", {}, count > 1 ? `All ${count} windows as a table` : "The window as a table"),
    el("div", { class: "fv-scroll", tabindex: "0", role: "region", "aria-label": "Table of windows" }, table),
  );
  const print = () => {
    build();
    element.open = true;
  };
  window.addEventListener("beforeprint", print);
  return {
    element,
    refresh() {
      body.replaceChildren();
      if (element.open) build();
    },
    destroy() { window.removeEventListener("beforeprint", print); },
  };
}

function windowRow(model, window, place) {
  const said = (key) => reading(model, window[`${key}Top`]) ?? "–";
  return el(
    "tr",
    {},
    el("td", {}, el("button", { type: "button", class: "fv-link", "data-window": place }, span(window.start, window.end))),
    model.isCrowd ? el("td", {}, nameOf(model, window.person) ?? "–") : null,
    el("td", { class: "fv-nowrap" }, outcomeShape(window.outcomeOf), window.outcomeOf.name),
    el("td", { class: "fv-number" }, window.counted === null ? "–" : String(hundredths(window.counted))),
    model.channels.map(({ key }) => el("td", { class: "fv-nowrap" }, said(key))),
    el("td", {}, capital(remarks(window).join("; "))),
  );
}

// The time that is looked at: chosen by people, or followed from a video.
class Playhead {
  constructor(duration) {
    this.duration = duration;
    this.time = 0;
    this.video = null;
    this.overlay = null;
    this.isChosen = true;
    this.changed = () => {};
  }

  choose(time) {
    this.move(time, true);
    if (this.video !== null) this.video.currentTime = this.time;
  }

  follow(time) { this.move(time, false); }

  move(time, isChosen) {
    this.time = Math.min(Math.max(time, 0), this.duration);
    this.isChosen = isChosen;
    this.changed();
  }

  togglePlay() {
    if (this.video === null) return;
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }
}

// Shows a view of `to_view` in an empty element; {video, pickVideo, switch}: a video to follow,
// whether to offer to choose one, another sensitivity, and other names (with `switch` too). Gives
// {seek(t_s), destroy()}.
function mount(element, view, { video = null, pickVideo = false, switch: canSwitch = true } = {}) {
  const model = openView(view);
  const level = document.querySelector("h1") === null ? 1 : 2;
  const playhead = new Playhead(model.duration_s);
  const parts = [createHeader(model, level)];
  const update = () => {
    for (const part of parts) part.show?.(playhead);
  };
  const refresh = () => {
    for (const part of parts) part.refresh?.();
    update();
    playhead.overlay?.draw();
  };
  const choosePoint = (place) => {
    usePoint(model, place);
    refresh();
  };
  const rename = (person, name) => {
    person.name = name.trim() || person.givenName;
    refresh();
  };
  let link = null;
  if (model.windows.length) {
    const canPick = video === null && pickVideo;
    const points = createPoints(model, canSwitch && model.points.length > 1 ? choosePoint : null);
    parts.push(points, ...createResults(model, playhead, level + 1, canPick, canSwitch ? rename : null));
    if (video !== null) link = followVideo(video, model, playhead);
    playhead.changed = update;
  }
  element.classList.add("fv-root");
  element.replaceChildren(...parts.map((part) => part.element), createFooter(model));
  update();
  return {
    seek: (seconds) => playhead.choose(seconds),
    destroy() {
      for (const part of parts) part.destroy?.();
      link?.destroy();
      playhead.changed = () => {};
      element.classList.remove("fv-root");
      element.replaceChildren();
    },
  };
}

function createResults(model, playhead, level, canPick, rename) {
  const timeline = createTimeline(model, playhead, level);
  const jump = (time) => {
    playhead.choose(time);
    (playhead.video ?? timeline.element).scrollIntoView({ block: "nearest" });
  };
  return [
    createMoments(model, playhead, level, jump),
    ...(model.people.length > 1 ? [createPeople(model, playhead, level, rename)] : []),
    ...(canPick ? [createPicker(model, playhead)] : []),
    timeline,
    createCard(model, level),
    ...(model.transcript === null ? [] : [createTranscript(model, level, jump)]),
    createSummary(model, level),
    createTable(model, (window) => playhead.choose(middleOf(window))),
  ];
}

window.facevoice = { ...(window.facevoice ?? {}), mount };
