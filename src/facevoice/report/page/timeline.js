// The timeline: rows over one axis, a cursor, zoom, and a strip over the whole.

const STRIP_PX = 16;
const PAGE_OF_WINDOWS = 10;

function rowLabels(layout) {
  return layout.rows.map(({ label, note, ends, endsTop = 0, top, height }) => el(
    "div",
    { class: "fv-label", style: { top: `${top + endsTop}px`, height: `${height - endsTop}px` } },
    el("span", {}, label, note ? el("small", {}, note) : null),
    (ends ?? []).map((text, k) => el("span", { class: `fv-end fv-end-${k ? "bottom" : "top"}` }, text)),
  ));
}

// Beside its element: `steps` from moment to moment, and `strip`, the whole file in small.
function createTimeline(model, playhead, level) {
  const axis = new Axis(model.duration_s);
  const what = { curves: false, affect: false };
  let layout = timelineRows(model, what);
  const canvas = el("canvas", { "aria-hidden": "true" });
  const selected = el("div", { class: "fv-selected", "aria-hidden": "true" });
  const moment = el("div", { class: "fv-selected-moment", "aria-hidden": "true" });
  const cursor = el("div", { class: "fv-cursor", "aria-hidden": "true" });
  const readout = createReadout(model, axis);
  const slider = {
    class: "fv-area",
    role: "slider",
    tabindex: "0",
    "aria-label": "Place in the file",
    "aria-valuemin": "0",
    "aria-valuemax": String(model.duration_s),
  };
  const area = el("div", slider, canvas, selected, moment, cursor, readout.elements);
  const labels = el("div", { class: "fv-labels", "aria-hidden": "true" });
  const strip = createStrip(model, axis, playhead, () => schedule());
  const hint = el("p", { class: "fv-note" });
  const buttons = zoomButtons((factor) => zoom(factor));
  const steps = createSteps(model, playhead);
  const marks = { axis, model, playhead, area, cursor, selected, moment, spoken: -1 };
  let frame = 0;

  function draw() {
    const context = fitCanvas(canvas, axis.width, layout.height, model.look);
    drawAxis(context, axis, layout.axisTop);
    for (const row of layout.rows) row.draw(context, model, axis, row.top, row.height);
    strip.draw();
    buttons.update(axis);
    hint.replaceChildren(...hints(isDense(model, axis), what));
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

  function lay() {
    layout = timelineRows(model, what);
    labels.replaceChildren(...rowLabels(layout));
    for (const part of [labels, area]) part.style.height = `${layout.height}px`;
    readout.forget();
    schedule();
  }

  const switches = rowSwitches(what, lay);
  const read = (time) => readout.show(time, what);
  takePointer(marks, { zoom, schedule, read, hide: readout.hide });
  takeKeys(marks, { zoom, read, hide: readout.hide });
  const observer = new ResizeObserver(() => resize(area.clientWidth));
  observer.observe(area);
  const unprint = takePrint(axis, resize, () => area.clientWidth);
  const title = el("div", { class: "fv-bar-title" }, el(`h${level}`, {}, "Timeline"), switches, buttons.element);
  const legend = el(
    "ul",
    { class: "fv-legend", "aria-label": "Colours of emotions" },
    model.emotions.map((emotion) => el("li", {}, chip(emotion), emotion.name)),
  );
  lay();
  return {
    element: el("section", { class: "fv-timeline" }, title, el("div", { class: "fv-plot" }, labels, area), hint, legend),
    steps: steps.element,
    strip: strip.element,
    // Brings the playhead into sight and marks it.
    show({ time, isChosen }) {
      if (!axis.holds(time)) {
        axis.moveTo(time - axis.shown * (isChosen ? 0.5 : 0.05));
        schedule();
      }
      placeMarks(marks);
      strip.show(time);
      steps.update();
    },
    refresh() {
      marks.spoken = -1;
      strip.forget();
      readout.forget();
      schedule();
    },
    repaint() {
      strip.forget();
      if (axis.width > 1) draw();
    },
    destroy() {
      cancelAnimationFrame(frame);
      observer.disconnect();
      strip.destroy();
      unprint();
    },
  };
}

// What may be shown beside the likeliest emotions; off at first.
function rowSwitches(what, changed) {
  const make = (key, text) => el(
    "label",
    {},
    el("input", { type: "checkbox", autocomplete: "off", onchange: ({ target }) => { what[key] = target.checked; changed(); } }),
    text,
  );
  const parts = [make("curves", "All emotions"), make("affect", "Valence and arousal")];
  return el("div", { class: "fv-switches", role: "group", "aria-label": "Also show" }, parts);
}

function hints(isAfar, { curves, affect }) {
  const bands = curves ? [] : ["The height of a band is the probability of its emotion."];
  const near = [...bands, "Hatched: nothing to read or to compare."];
  const line = `${curves || affect ? "lines are means; " : ""}of conflict, the dark line is the mean and the grey the range.`;
  const afar = [curves ? capital(line) : `Seen from afar: each column shows shares of its time; ${line}`];
  const key = (name) => el("span", { class: `fv-line-key fv-line-${name}`, "aria-hidden": "true" });
  const lines = affect
    ? [
      " Valence (from −1, unpleasant, to +1, pleasant) and arousal (from −1, calm, to +1, excited) are",
      " worked out from the eight probabilities and where each emotion lies on the circumplex",
      " (Russell 1980): ", key("face"), "face, ", key("voice"), "voice, ", key("fused"), "both.",
    ]
    : [];
  const zoom = el("span", { class: "fv-screen" }, " Zoom in for single windows.");
  const keys = el("span", { class: "fv-screen fv-keys" }, " Keys: ← → window, N P moment, + − zoom, space plays.");
  return [(isAfar ? afar : near).join(" "), ...lines, isAfar ? zoom : keys];
}

function placeMarks(marks) {
  const { axis, model, playhead, area, cursor, selected, moment } = marks;
  const place = windowAt(model, playhead.time);
  const x = Math.min(axis.x(playhead.time), axis.width - 1);
  cursor.style.display = axis.holds(playhead.time) ? "block" : "none";
  cursor.style.transform = `translateX(${x.toFixed(2)}px)`;
  const window = model.windows[place];
  // The very spans that the card tells.
  placeSpan(selected, axis, window, model.windows.length > 1);
  placeSpan(moment, axis, selectionAt(model, playhead.time).moment, model.point.moments.length > 1);
  if (marks.spoken === place && !playhead.isChosen) return;  // Not with every frame of a video.
  marks.spoken = place;
  area.setAttribute("aria-valuenow", playhead.time.toFixed(2));
  area.setAttribute("aria-valuetext", inWords(model, window, playhead.time));
}

function placeSpan(element, axis, span, isShown) {
  const [left, right] = axis.ends(span);
  element.style.display = isShown && right > left ? "block" : "none";
  element.style.left = `${left}px`;
  element.style.width = `${Math.max(right - left, 1)}px`;
}

// Goes to where the moment, or the conflict, before or after the playhead begins, and from the
// strongest conflict to the next strongest.
function createSteps(model, playhead) {
  const here = () => selectionAt(model, playhead.time);
  const moment = (count) => () => model.point.moments[here().place + count];
  const before = () => model.point.conflicts.findLast(({ to }) => to <= playhead.time);
  const after = () => model.point.conflicts.find(({ from }) => from > playhead.time);
  const buttons = [];
  const make = (text, find, name = null) => {
    const attributes = { type: "button", class: "fv-button", "aria-label": name, title: name, onclick: () => playhead.choose(find().from) };
    const button = el("button", attributes, text);
    buttons.push({ button, find });
    return button;
  };
  const pair = (word, previous, next) => el(
    "div",
    { class: "fv-step" },
    make("‹", previous, `Previous ${word}`),
    el("span", { "aria-hidden": "true" }, capital(word)),
    make("›", next, `Next ${word}`),
  );
  const moments = pair("moment", moment(-1), moment(1));
  const conflicts = pair("conflict", before, after);
  const strongest = make("Strongest", () => nextStrongest(model, here().place), "Strongest conflict");
  const element = el("div", { class: "fv-steps", role: "group", "aria-label": "Go to" }, moments, conflicts, strongest);
  return {
    element,
    update() {
      element.hidden = model.point.moments.length < 2;
      for (const { button, find } of buttons) button.disabled = find() === undefined;
      const isNext = model.point.strongest.includes(here().place) && model.point.strongest.length > 1;
      strongest.title = isNext ? "Next strongest conflict" : "Strongest conflict";
      strongest.setAttribute("aria-label", strongest.title);
    },
  };
}

// The strongest conflict, or the next one where one of them is selected; after the weakest, the first.
function nextStrongest(model, place) {
  const { moments, strongest } = model.point;
  const next = strongest[(strongest.indexOf(place) + 1) % Math.max(strongest.length, 1)];
  return next === place ? undefined : moments[next];
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

// The outcomes of the whole file, whatever part is shown above, and where that part lies. A press
// goes there.
function createStrip(model, axis, playhead, changed) {
  const canvas = el("canvas");
  const brush = el("div", { class: "fv-brush" });
  const cursor = el("div", { class: "fv-cursor" });
  const element = el("div", { class: "fv-strip", "aria-hidden": "true" }, canvas, brush, cursor);
  const move = (event) => {
    const box = element.getBoundingClientRect();
    const time = ((event.clientX - box.left) / box.width) * axis.duration;
    axis.moveTo(time - axis.shown / 2);
    playhead.choose(time);
    changed();
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    move(event);
  });
  element.addEventListener("pointermove", (event) => { if (event.buttons & 1) move(event); });
  const observer = new ResizeObserver(() => draw());
  observer.observe(element);
  const whole = new Axis(axis.duration);
  const draw = () => {
    const width = element.clientWidth;
    if (whole.width !== width && width > 0) {
      whole.width = width;
      const context = fitCanvas(canvas, width, STRIP_PX, model.look);
      drawShares(context, model, whole, (w) => w.outcome, model.outcomes, STRIP_PX, STRIP_PX);
    }
    element.classList.toggle("fv-strip-whole", axis.isWhole);
    brush.style.left = `${(100 * axis.from) / axis.duration}%`;
    brush.style.width = `max(3px, ${(100 * axis.shown) / axis.duration}%)`;
  };
  return {
    element,
    draw,
    forget() { whole.width = 0; },
    show(time) { cursor.style.left = `${(100 * time) / axis.duration}%`; },
    destroy() { observer.disconnect(); },
  };
}

// `read(time)` shows the values at a time until `hide`.
function takePointer({ area, axis, playhead }, { zoom, schedule, read, hide }) {
  const timeAt = (event) => axis.time(event.clientX - area.getBoundingClientRect().left);
  area.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    area.setPointerCapture(event.pointerId);
    playhead.choose(timeAt(event));
    read(timeAt(event));
  });
  area.addEventListener("pointermove", (event) => {
    const time = timeAt(event);
    if (event.buttons & 1) playhead.choose(time);
    read(time);
  });
  for (const name of ["pointerleave", "pointercancel"]) area.addEventListener(name, hide);
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

function takeKeys({ area, model, playhead }, { zoom, read, hide }) {
  const last = model.windows.length - 1;
  const go = (place) => playhead.choose(middleOf(model.windows[Math.min(Math.max(place, 0), last)]));
  const step = (count) => () => go(windowAt(model, playhead.time) + count);
  const goMoment = (count) => () => {
    const moment = model.point.moments[selectionAt(model, playhead.time).place + count];
    if (moment !== undefined) playhead.choose(moment.from);
  };
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
    n: goMoment(1),
    p: goMoment(-1),
    " ": () => playhead.togglePlay(),
    Escape: hide,
  };
  area.addEventListener("keydown", (event) => {
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
    if (event.key !== "Escape" && event.key !== " ") read(playhead.time);
  });
  area.addEventListener("blur", hide);
}
