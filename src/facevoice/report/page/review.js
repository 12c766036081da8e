// What a person says of the moments: right or wrong, what it really is, a note; saved as a file that
// lies beside the report, since a page can't write there itself.
//
// The review is the document of `facevoice.review`; verdicts belong to a span and a person, and stay
// when another sensitivity has other moments.

const ANSWERS = ["outcome", "face", "voice"];
const SAME_S = 0.002;

// Whoever looks, as they say on this page: no review that is opened says it for them.
let reviewer = "";
// When something was said on this page.
const saidHere = new Set();
// What was said and stands in no file yet: by the id of its report, the number of what was said last.
const unsaved = new Map();
let numSaid = 0;
const WITHOUT_REVIEW = /\.rttm$|_events\.json$/;

// A file was downloaded that holds what was said up to a number, of one report, or of those whose ids
// begin so.
function wasDownloaded(name, number, id) {
  if (WITHOUT_REVIEW.test(name)) return;
  for (const [one, last] of [...unsaved]) if (one.startsWith(id) && last <= number) unsaved.delete(one);
}

// Whether what was said may go, of one report or of those whose ids begin so; asks where it stands in
// no file.
function mayForget(id) {
  const ids = [...unsaved.keys()].filter((one) => one.startsWith(id));
  const question = "Your review isn’t downloaded yet, and would be lost. Go on without it?";
  if (ids.length && !window.confirm(question)) return false;
  for (const one of ids) unsaved.delete(one);
  return true;
}

// `id`: of the report among those of the page; `keep(text, number)` is told of every change and keeps
// it, as the web app does; null where only people save.
// `changed` is told, too; `jump(time)` goes to a moment.
function createReview(model, level, { id, keep, changed: tell, jump }) {
  const state = {
    id,
    document: model.review.document,
    verdicts: model.review.document.verdicts.map((verdict) => ({ ...verdict })),
  };
  const panel = reviewPanel(model, state, level, jump);
  let form = null;
  const refresh = () => {
    panel.refresh();
    form?.refresh();
  };
  const changed = () => {
    numSaid += 1;
    unsaved.set(id, numSaid);
    keep?.(reviewText(state), numSaid);
    refresh();
    tell();
  };
  Object.assign(panel, { changed, named: refresh });
  const takeNote = () => form?.takeNote();
  const warn = (event) => {
    takeNote();
    if (unsaved.size) event.preventDefault();
  };
  const events = { beforeunload: warn, beforeprint: takeNote };
  for (const [name, react] of Object.entries(events)) window.addEventListener(name, react);
  panel.refresh();
  if (model.review.is_other) panel.say("This review was made of another analysis of the file.");
  model.markOf = (moment) => markOf(state, model, moment);
  return {
    element: panel.element,
    addTo(place, { moment }) {
      takeNote();
      form = verdictForm(model, state, moment, { changed, askName: panel.askName });
      place.replaceChildren(form.element);
    },
    refresh: panel.refresh,
    destroy() {
      takeNote();
      for (const [name, react] of Object.entries(events)) window.removeEventListener(name, react);
    },
  };
}

function saidOf(model, moment) {
  const emotion = (place) => (place === null ? null : model.review.emotions[place]);
  const [face, voice] = moment.said;
  return { outcome: moment.outcomeOf.name, face: emotion(face), voice: emotion(voice) };
}

function isOf(verdict, moment) {
  return Math.abs(verdict.start_s - moment.from) <= SAME_S && Math.abs(verdict.end_s - moment.to) <= SAME_S
    && verdict.person === moment.said[2];
}

// It stays in the file, so that no older one brings back what it said.
function isTakenBack(verdict) {
  return verdict.is_right === null && verdict.note === "";
}

function standing(state) {
  return state.verdicts.filter((verdict) => !isTakenBack(verdict));
}

function verdictOn(state, moment) {
  return standing(state).find((verdict) => isOf(verdict, moment)) ?? null;
}

function isOutdated(model, verdict, moment) {
  const said = saidOf(model, moment);
  return ANSWERS.some((name) => said[name] !== verdict.said[name]);
}

// What stands beside a moment in lists: "right", "wrong", "note", or nothing.
function markOf(state, model, moment) {
  const verdict = verdictOn(state, moment);
  if (verdict === null) return "";
  if (verdict.is_right === null) return "note";
  return `${verdict.is_right ? "right" : "wrong"}${isOutdated(model, verdict, moment) ? ", of another answer" : ""}`;
}

// Makes or changes the verdict on a moment; one that says nothing any more is taken back.
function judge(model, state, moment, change) {
  const before = state.verdicts.find((verdict) => isOf(verdict, moment));
  const blank = { is_right: null, corrected: { outcome: null, face: null, voice: null }, note: "" };
  const verdict = {
    start_s: moment.from,
    end_s: moment.to,
    person: moment.said[2],
    ...blank,
    ...before,
    said: saidOf(model, moment),
    ...change,
    ...signature(),
  };
  if (verdict.is_right !== false) verdict.corrected = blank.corrected;
  state.verdicts = state.verdicts.filter((one) => one !== before);
  if (before !== undefined || !isTakenBack(verdict)) state.verdicts.push(verdict);
  state.verdicts.sort(byTime);
}

function byTime(a, b) { return a.start_s - b.start_s || a.end_s - b.end_s; }

// Who says something now.
function signature() {
  const when = new Date().toISOString();
  saidHere.add(when);
  return { reviewer, when };
}

// On each moment the latest of all verdicts, as `facevoice.review.unite` has it.
function uniteVerdicts(verdicts) {
  const saidAt = ({ when }) => Date.parse(when) || 0;
  const latest = new Map();
  for (const verdict of [...verdicts].sort((a, b) => saidAt(a) - saidAt(b))) {
    latest.set([verdict.start_s.toFixed(2), verdict.end_s.toFixed(2), verdict.person].join(), verdict);
  }
  return [...latest.values()].sort(byTime);
}

let numForms = 0;

// The form in a moment's card; `askName` leads to where people say who they are.
function verdictForm(model, state, moment, { changed, askName }) {
  numForms += 1;
  const set = (change) => {
    judge(model, state, moment, change);
    changed();
  };
  const mark = (is) => {
    const current = verdictOn(state, moment)?.is_right ?? null;
    set({ is_right: current === is ? null : is });
  };
  const right = el("button", { type: "button", class: "fv-button", onclick: () => mark(true) }, "Right");
  const wrong = el("button", { type: "button", class: "fv-button", onclick: () => mark(false) }, "Wrong");
  const selects = ANSWERS.map((name) => correctionField(model, name, (value) => {
    const corrected = verdictOn(state, moment)?.corrected ?? {};
    set({ is_right: false, corrected: { outcome: null, face: null, voice: null, ...corrected, [name]: value } });
  }));
  const noteId = `fv-note-${numForms}`;
  const note = el("textarea", {
    id: noteId, rows: 1, maxlength: 10000, dir: "auto",
    onchange: () => takeNote(),
  });
  const takeNote = () => {
    const text = note.value.trim();
    if (text !== (verdictOn(state, moment)?.note ?? "")) set({ note: text });
  };
  const who = el("button", { type: "button", class: "fv-link fv-who", dir: "auto", onclick: askName });
  const corrections = el("div", { class: "fv-corrections" }, selects.map((field) => field.element));
  const reviewed = el("p", { class: "fv-reviewed" });
  const element = el(
    "fieldset",
    { class: "fv-judge" },
    el("legend", {}, "Is this right?"),
    el("div", { class: "fv-judge-row" }, right, wrong, who, corrections),
    el("label", { for: noteId, class: "fv-note-label" }, "Note", note),
    reviewed,
  );
  const refresh = () => {
    const verdict = verdictOn(state, moment);
    right.setAttribute("aria-pressed", String(verdict?.is_right === true));
    wrong.setAttribute("aria-pressed", String(verdict?.is_right === false));
    who.textContent = reviewer === "" ? "Your name?" : `as ${reviewer}`;
    corrections.hidden = verdict?.is_right !== false;
    selects.forEach((field, k) => field.set(verdict?.corrected[ANSWERS[k]] ?? null));
    if (document.activeElement !== note) note.value = verdict?.note ?? "";
    reviewed.textContent = verdict === null ? "" : verdictWords(model, verdict, moment);
  };
  refresh();
  return { element, refresh, takeNote };
}

// A choice of what it really is; empty where the person doesn't tell.
function correctionField(model, name, choose) {
  const choices = name === "outcome"
    ? model.outcomes.map((outcome) => [outcome.name, outcome.name])
    : model.emotions.map((emotion, k) => [model.review.emotions[k], emotion.name]);
  const select = el(
    "select",
    { autocomplete: "off", onchange: () => choose(select.value || null) },
    el("option", { value: "" }, "not told"),
    choices.map(([value, words]) => el("option", { value }, words)),
  );
  const label = { outcome: "Really", face: "Face", voice: "Voice" }[name];
  return { element: el("label", {}, label, select), set(value) { select.value = value ?? ""; } };
}

// "wrong: really match, voice happy. “She laughs.” (Dr Keller)"
function verdictWords(model, verdict, moment = null) {
  const { corrected } = verdict;
  const word = (key) => model.emotions[model.review.emotions.indexOf(key)]?.name ?? key;
  const really = [
    corrected.outcome === null ? null : `really ${corrected.outcome}`,
    corrected.face === null ? null : `face ${word(corrected.face)}`,
    corrected.voice === null ? null : `voice ${word(corrected.voice)}`,
  ].filter((part) => part !== null);
  const judged = { true: "right", false: "wrong", null: "" }[verdict.is_right];
  const parts = [
    judged === "" ? "" : `${capital(judged)}${really.length ? `: ${really.join(", ")}` : ""}.`,
    verdict.note === "" ? "" : `“${verdict.note}”`,
    verdict.reviewer === "" ? "" : `(${verdict.reviewer})`,
    moment !== null && isOutdated(model, verdict, moment)
      ? `This was said of another answer: ${verdict.said.outcome}.`
      : "",
  ];
  return parts.filter((part) => part !== "").join(" ");
}

function reviewText(state) {
  const verdicts = state.verdicts.map((verdict) => ({ ...verdict }));
  return `${JSON.stringify({ ...state.document, verdicts }, null, 2)}\n`;
}

// Counts and all verdicts, the name of who looks, and the file.
function reviewPanel(model, state, level, jump) {
  numForms += 1;
  const summary = el("p", { "aria-live": "polite" });
  const list = el("ul", { class: "fv-moments fv-verdicts" });
  const told = el("p", { class: "fv-note", role: "status" });
  const nameId = `fv-reviewer-${numForms}`;
  const name = el("input", { id: nameId, type: "text", maxlength: 200, autocomplete: "name" });
  const file = el("input", { type: "file", accept: ".json,application/json", class: "fv-hidden", tabindex: "-1", "aria-hidden": "true" });
  const save = el("button", { type: "button", class: "fv-button", onclick: () => saveReview() }, "Save review");
  const load = el("button", { type: "button", class: "fv-button", onclick: () => file.click() }, "Load review");
  const hint = el(
    "p",
    { class: "fv-note fv-screen" },
    "A page can’t write beside itself: put the downloaded ",
    el("code", {}, model.review.name),
    " beside the report or the film, where facevoice finds it.",
  );
  const element = el(
    "section",
    { class: "fv-review-panel", "aria-label": "Review" },
    el(`h${level}`, {}, "Review", el("small", { class: "fv-screen" }, "what you say of the moments")),
    summary,
    list,
    el("div", { class: "fv-judge-row fv-screen" }, el("label", { for: nameId }, "Your name", name), save, load, file),
    told,
    hint,
  );
  const panel = { element, changed() {}, named() {}, askName() { name.focus(); }, say(text) { told.textContent = text; } };
  name.addEventListener("change", () => {
    reviewer = name.value.trim();
    const unsigned = state.verdicts.filter((verdict) => verdict.reviewer === "" && saidHere.has(verdict.when));
    for (const verdict of unsigned) Object.assign(verdict, signature());
    if (unsigned.length) panel.changed();
    else panel.named();
  });
  const saveReview = () => {
    download(reviewText(state), model.review.name);
    unsaved.delete(state.id);
    panel.refresh();
    panel.say(`Saved as ${model.review.name} among your downloads.`);
  };
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    file.value = "";
    if (chosen === undefined) return;
    const { verdicts, problem } = openReview(await chosen.text(), state.document);
    panel.say(problem);
    if (verdicts === null) return;
    const hadSome = state.verdicts.length > 0;
    state.verdicts = uniteVerdicts([...state.verdicts, ...verdicts]);
    panel.changed();
    if (state.verdicts.every((verdict) => verdicts.includes(verdict))) unsaved.delete(state.id);
    panel.refresh();
    const both = hadSome ? "What was said here stays; where both tell of a moment, the later stands." : "";
    panel.say([`Read ${chosen.name}.`, both, problem].filter((text) => text !== "").join(" "));
  });
  panel.refresh = () => {
    summary.textContent = reviewWords(model, state);
    list.replaceChildren(...standing(state).map((verdict) => verdictRow(model, verdict, jump)));
    list.hidden = list.childElementCount === 0;
    if (document.activeElement !== name) name.value = reviewer;
    save.textContent = unsaved.has(state.id) ? "Save review (changed)" : "Save review";
  };
  return panel;
}

function verdictRow(model, verdict, jump) {
  const moment = model.point.moments.find((one) => isOf(verdict, one)) ?? null;
  const time = span(verdict.start_s, verdict.end_s);
  const where = moment === null
    ? el("span", {}, time)
    : el("button", { type: "button", class: "fv-link", title: "Go there", onclick: () => jump(moment.from) }, time);
  const said = model.outcomes.find((outcome) => outcome.name === verdict.said.outcome);
  const words = verdictWords(model, verdict, moment);
  const gone = moment === null ? " There is no such moment at this setting." : "";
  return el("li", {}, where, el("span", { class: "fv-nowrap" }, outcomeShape(said), said.name), el("span", { dir: "auto" }, `${words}${gone}`));
}

// "3 of 11 moments reviewed: 2 right, 1 wrong (67% agreement)."
function reviewWords(model, state) {
  const { moments } = model.point;
  const pairs = moments.map((moment) => [moment, verdictOn(state, moment)]).filter(([, verdict]) => verdict !== null);
  const fresh = pairs.filter(([moment, verdict]) => !isOutdated(model, verdict, moment));
  const count = (is) => fresh.filter(([, verdict]) => verdict.is_right === is).length;
  const [right, wrong] = [count(true), count(false)];
  const { length } = standing(state);
  if (length === 0) return "Nothing was reviewed yet: mark a moment right or wrong in its card.";
  const agreement = right + wrong ? ` (${Math.round((100 * right) / (right + wrong))}% agreement)` : "";
  const gone = length - pairs.length;
  const parts = [`${pairs.length} of ${moments.length} moments reviewed: ${right} right, ${wrong} wrong${agreement}.`];
  if (gone) parts.push(`${gone} ${gone === 1 ? "verdict is" : "verdicts are"} on moments that this setting doesn’t have.`);
  return parts.join(" ");
}

function download(text, name) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = el("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// The verdicts of a review's text, or null; and what people should know of it.
function openReview(text, own) {
  const none = (problem) => ({ verdicts: null, problem });
  let document = null;
  try {
    document = JSON.parse(text);
  } catch {
    return none("That is no review: no valid JSON.");
  }
  if (document?.schema !== own.schema) return none("That is no review of facevoice.");
  if (document.schema_version !== own.schema_version) return none("That review is of another version of facevoice.");
  const { file, fingerprint, verdicts } = document;
  if (!Array.isArray(verdicts) || !verdicts.every(isVerdict)) return none("That review is damaged.");
  const bothKnown = Boolean(file?.sha256 && own.file.sha256);
  const isSame = fingerprint === own.fingerprint;
  const isOther = bothKnown ? file.sha256 !== own.file.sha256 : !isSame && file?.name !== own.file.name;
  if (isOther) return none(`That is a review of ${String(file?.name)}, not of ${own.file.name}.`);
  const problem = isSame ? "" : "It was made of another analysis of this file.";
  return { verdicts: verdicts.map((verdict) => ({ ...verdict })), problem };
}

function isVerdict(verdict) {
  const isText = (value) => typeof value === "string";
  const isAnswer = (answer) => answer !== null && typeof answer === "object"
    && ANSWERS.every((name) => answer[name] === null || isText(answer[name]));
  return verdict !== null && typeof verdict === "object"
    && [verdict.start_s, verdict.end_s].every(Number.isFinite)
    && (verdict.person === null || Number.isInteger(verdict.person))
    && isAnswer(verdict.said) && isAnswer(verdict.corrected)
    && [true, false, null].includes(verdict.is_right)
    && [verdict.note, verdict.reviewer, verdict.when].every(isText);
}
