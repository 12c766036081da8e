// The timeline: rows over one axis, a cursor, zoom, and a strip over the whole.

function createTimeline(model, moment, level) {
  const axis = new Axis(model.duration_s);
  const layout = timelineRows(model);
  const canvas = el("canvas", { "aria-hidden": "true" });
  const selected = el("div", { class: "fv-selected", "aria-hidden": "true" });
  const cursor = el("div", { class: "fv-cursor", "aria-hidden": "true" });
  const area = el(
    "div",
    {
      class: "fv-area",
      role: "slider",
      tabindex: "0",
      "aria-label": "Moment of the file",
      "aria-valuemin": "0",
      "aria-valuemax": String(model.duration_s),
      style: { height: `${layout.height}px` },
    },
    canvas,
    selected,
    cursor,
  );
  const strip = createStrip(model, axis, () => schedule());
  const hint = el("p", { class: "fv-note" });
  const view = { axis, area, cursor, selected, canvas, layout, strip, hint, model, moment };
  view.buttons = zoomButtons((factor) => zoom(factor));
  let frame = 0;

  function schedule() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; drawAll(view); });
  }

  function zoom(factor, time = moment.time) {
    if (factor === 0) axis.whole();
    else axis.zoomTo(axis.shown / factor, time);
    schedule();
  }

  const stopPointer = takePointer(view, zoom, schedule);
  takeKeys(area, model, moment, zoom);
  const observer = new ResizeObserver(() => resize(view, area.clientWidth));
  observer.observe(area);
  const unprint = takePrint(view);
  const title = el("div", { class: "fv-bar-title" }, el(`h${level}`, {}, "Timeline"), view.buttons.element);
  const plot = el(
    "div",
    { class: "fv-plot" },
    el("div", { class: "fv-labels", "aria-hidden": "true", style: { height: `${layout.height}px` } }, rowLabels(layout)),
    area,
    el("div", { class: "fv-labels fv-strip-label", "aria-hidden": "true" }, "All"),
    strip.element,
  );
  return {
    element: el("section", { class: "fv-timeline" }, title, plot, hint, createLegend(model)),
    // Brings a moment into sight and marks it.
    show(time, isFollowing) {
      if (!axis.holds(time)) {
        axis.moveTo(isFollowing ? time - axis.shown * 0.05 : time - axis.shown / 2);
        schedule();
      }
      placeMarks(view, time);
    },
    destroy() {
      cancelAnimationFrame(frame);
      observer.disconnect();
      stopPointer();
      unprint();
    },
  };
}

function resize(view, width) {
  if (width < 1) return;
  view.axis.width = width;
  drawAll(view);
}

function drawAll(view) {
  const { model, axis } = view;
  drawTimeline(view.canvas, model, axis, view.layout);
  view.strip.draw();
  view.buttons.update(axis);
  view.hint.replaceChildren(...hints(isDense(model, axis)));
  placeMarks(view, view.moment.time);
}

function hints(isAfar) {
  if (!isAfar) {
    return ["The height of a band is the probability of its emotion. Hatched: not enough to read."];
  }
  const zoom = el("span", { class: "fv-screen" }, " Zoom in for single windows.");
  const line = "of conflict, the dark line is the mean and the grey the range.";
  return [`Seen from afar: each column shows shares of its time; ${line}`, zoom];
}

function placeMarks(view, time) {
  const { axis, model, cursor, selected, area } = view;
  const place = windowAt(model, time);
  const x = Math.min(axis.x(time), axis.width - 1);
  cursor.style.display = axis.holds(time) ? "block" : "none";
  cursor.style.transform = `translateX(${x.toFixed(2)}px)`;
  const window = model.windows[place];
  const [left, right] = visible(axis, window);
  const marks = right > left && model.windows.length > 1;
  selected.style.display = marks ? "block" : "none";
  selected.style.left = `${left}px`;
  selected.style.width = `${Math.max(right - left, 1)}px`;
  if (view.spoken === place && !view.moment.isChosen) return;  // Not with every frame of a video.
  view.spoken = place;
  area.setAttribute("aria-valuenow", time.toFixed(2));
  area.setAttribute("aria-valuetext", inWords(model, window, time));
}

function zoomButtons(zoom) {
  const make = (text, name, factor) =>
    el("button", { type: "button", class: "fv-button", "aria-label": name, title: name, onclick: () => zoom(factor) }, text);
  const [out, closer, whole] = [
    make("−", "Zoom out", 0.5),
    make("+", "Zoom in", 2),
    make("Whole", "Show the whole file", 0),
  ];
  return {
    element: el("div", { class: "fv-zoom", role: "group", "aria-label": "Zoom" }, out, closer, whole),
    update(axis) {
      out.disabled = axis.isWhole;
      whole.disabled = axis.isWhole;
      closer.disabled = axis.isClosest;
    },
  };
}

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
  let drawnWidth = 0;
  return {
    element,
    draw() {
      if (drawnWidth !== axis.width) drawStrip(canvas, model, axis);
      drawnWidth = axis.width;
      element.classList.toggle("fv-strip-whole", axis.isWhole);
      brush.style.left = `${(100 * axis.from) / axis.duration}%`;
      brush.style.width = `max(3px, ${(100 * axis.shown) / axis.duration}%)`;
    },
  };
}
