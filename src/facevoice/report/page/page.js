// What is said in words and tables around the timeline, and the putting together of all parts; the
// only thing that the page around sees is `window.facevoice.mount`.
//
// A part is {element, show, refresh, destroy}: `show` when the playhead has moved, `refresh` when
// another sensitivity or name was chosen; only the first must be there.

const FEW_MOMENTS = 12;
const MOST_PRINTED_MOMENTS = 60;

// The file and its answer; the answer alone changes with the sensitivity, and is then read out.
function createHeader(model, level, themeButton) {
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
    el(
      "div",
      { class: "fv-top-line" },
      el(`h${level}`, { class: "fv-title" }, model.title),
      facts.length ? el("p", { class: "fv-meta" }, facts.join(" · ")) : null,
      themeButton,
    ),
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
    ...(hasCounts && model.lone === null ? [el("ul", { class: "fv-counts", "aria-label": "Windows of each outcome" }, items)] : []),
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

// The moments to jump to: conflicts from the strongest on, then the others as they come. On paper
// all, unless they would fill pages.
function createMoments(model, playhead, level, jump) {
  const list = el("ul", { class: "fv-moments" });
  const more = el("button", { type: "button", class: "fv-button", onclick: () => showAll() });
  const title = el(`h${level}`, {}, "Moments", el("small", {}, "strongest conflicts first"));
  const onPaper = el("p", { class: "fv-note fv-paper" });
  const element = el("section", { class: "fv-moments-section" }, title, list, more, onPaper);
  let rows = [];
  let isWhole = false;
  const show = () => {
    const here = selectionAt(model, playhead.time).moment;
    for (const { moment, button } of rows) {
      const isHere = String(moment === here);
      if (button.getAttribute("aria-current") !== isHere) button.setAttribute("aria-current", isHere);
    }
  };
  const fillList = (isAll) => {
    const { moments, strongest } = model.point;
    const first = strongest.map((k) => moments[k]);
    const all = [...first, ...moments.filter((moment) => !model.point.conflicts.includes(moment))];
    rows = all.slice(0, isAll ? all.length : FEW_MOMENTS).map((moment) => momentRow(model, moment, jump));
    list.replaceChildren(...rows.map((row) => row.element));
    more.textContent = `Show all ${all.length}`;
    more.hidden = rows.length === all.length;
    onPaper.textContent = more.hidden ? "" : `The first ${rows.length} of ${all.length}.`;
    // The answer has said it.
    element.hidden = all.length === 1 && (model.point.summary !== null || model.lone !== null);
    show();
  };
  const refresh = () => fillList(isWhole);
  const showAll = () => {
    isWhole = true;
    refresh();
    rows[FEW_MOMENTS].button.focus();
  };
  const beforePrint = () => fillList(isWhole || model.point.moments.length <= MOST_PRINTED_MOMENTS);
  const events = { beforeprint: beforePrint, afterprint: refresh };
  for (const [name, react] of Object.entries(events)) window.addEventListener(name, react);
  refresh();
  return {
    element,
    show,
    refresh,
    destroy() { for (const [name, react] of Object.entries(events)) window.removeEventListener(name, react); },
  };
}

function momentRow(model, moment, jump) {
  const time = span(moment.from, moment.to);
  const attributes = { type: "button", class: "fv-link", title: "Go there", onclick: () => jump(moment.from) };
  const button = el("button", attributes, time);
  const outcome = el("span", { class: "fv-nowrap" }, outcomeShape(moment.outcomeOf), moment.outcomeOf.name);
  const words = spoken(wordsOf(model, moment.lines), "span");
  const mark = el("small", { class: "fv-mark" }, model.markOf(moment));
  const place = model.point.moments.indexOf(moment);
  const told = el("span", {}, inFull(model, moment.words), mark);
  return { moment, button, element: el("li", { "data-moment": place }, button, outcome, told, words) };
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
    const outcomes = model.lone === null ? [outcomeTable(model)] : [];
    element.hidden = outcomes.length + overall.length === 0;
    element.replaceChildren(el(`h${level}`, {}, "Summary"), ...outcomes, ...overall);
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

// Shows a view of `to_view` in an empty element; {video, stage, pickVideo, switch, theme}: a video to
// follow, and the element that holds it, to stand beside the timeline; whether to offer to choose
// one, another sensitivity, and other names (with `switch` too); "light", "dark", or "auto" for a
// switch of its own; keepReview(text, number), reviewId: see `keep` and `id` in review.js. Gives
// {seek(t_s), useTheme("light" or "dark"), destroy()}.
function mount(element, view, options = {}) {
  const { video = null, stage = null, pickVideo = false, theme: wanted = "light" } = options;
  const { switch: canSwitch = true, keepReview = null, reviewId = "" } = options;
  const model = openView(view);
  const level = document.querySelector("h1") === null ? 1 : 2;
  const playhead = new Playhead(model.duration_s);
  const theme = createTheme(element, model, wanted, () => {
    for (const part of parts) part.repaint?.();
    playhead.overlay?.draw();
  });
  const parts = [createHeader(model, level, theme.button)];
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
  const elements = [parts[0].element];
  let link = null;
  if (model.windows.length) {
    const points = createPoints(model, canSwitch && model.points.length > 1 ? choosePoint : null);
    const can = { pick: video === null && pickVideo, rename: canSwitch ? rename : null, review: { id: reviewId, keep: keepReview } };
    const results = createResults(model, playhead, level + 1, stage, can);
    parts.push(points, ...results.parts);
    elements.push(points.element, ...results.elements);
    playhead.changed = update;
  }
  element.classList.add("fv-root");
  element.replaceChildren(...elements, createFooter(model));
  theme.apply();
  if (model.windows.length && video !== null) link = followVideo(video, model, playhead);
  update();
  return {
    seek: (seconds) => playhead.choose(seconds),
    useTheme: theme.use,
    destroy() {
      for (const part of parts) part.destroy?.();
      link?.destroy();
      theme.destroy();
      playhead.changed = () => {};
      element.classList.remove("fv-root");
      element.replaceChildren();
    },
  };
}

// All parts around a playhead, and the elements in their order: the desk holds the timeline, beside
// it the video, and what leads from moment to moment.
function createResults(model, playhead, level, stage, can) {
  const timeline = createTimeline(model, playhead, level);
  const jump = (time) => {
    playhead.choose(time);
    (playhead.video ?? card.element).scrollIntoView({ block: "nearest" });
  };
  const review = createReview(model, level, { ...can.review, jump, changed: () => moments.refresh() });
  const card = createCard(model, level, review.addTo);
  const moments = createMoments(model, playhead, level, jump);
  const picker = can.pick ? createPicker(model, playhead) : null;
  const below = [
    review,
    ...(model.people.length > 1 ? [createPeople(model, playhead, level, can.rename)] : []),
    ...(model.transcript === null ? [] : [createTranscript(model, level, jump)]),
    createSummary(model, level),
    createTable(model, (window) => playhead.choose(middleOf(window))),
  ];
  const deck = el("div", { class: "fv-deck" }, picker?.stage ?? stage, timeline.steps, timeline.strip);
  return {
    parts: [timeline, card, moments, ...(picker === null ? [] : [picker]), ...below],
    elements: [
      el("div", { class: "fv-desk" }, picker?.element ?? null, deck, timeline.element),
      el("div", { class: "fv-pair" }, card.element, moments.element),
      ...below.map((part) => part.element),
    ],
  };
}

window.facevoice = { ...(window.facevoice ?? {}), mount, mayForget, wasDownloaded };
