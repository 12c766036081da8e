// Pointer, wheel, keys and printer on the timeline.

function takePointer(view, zoom, schedule) {
  const { area, axis, model, moment } = view;
  const timeAt = (event) => axis.time(event.clientX - area.getBoundingClientRect().left);
  const down = (event) => {
    if (event.button !== 0) return;
    area.setPointerCapture(event.pointerId);
    moment.choose(timeAt(event));
  };
  const move = (event) => {
    const time = timeAt(event);
    if (event.buttons & 1) moment.choose(time);
    else area.title = hoverText(model, time);
  };
  const wheel = (event) => {
    if (event.ctrlKey) {
      event.preventDefault();
      zoom(2 ** (-event.deltaY / 200), timeAt(event));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      if (axis.isWhole) return;
      event.preventDefault();
      const distance = event.deltaX || event.deltaY;
      axis.moveTo(axis.from + (distance / axis.width) * axis.shown);
      schedule();
    }
  };
  area.addEventListener("pointerdown", down);
  area.addEventListener("pointermove", move);
  area.addEventListener("wheel", wheel, { passive: false });
  return () => {
    area.removeEventListener("pointerdown", down);
    area.removeEventListener("pointermove", move);
    area.removeEventListener("wheel", wheel);
  };
}

function hoverText(model, time) {
  const window = model.windows[windowAt(model, time)];
  const lines = [inWords(model, window, time)];
  for (const key of ["face", "voice"]) {
    if (window[key] === null) lines.push(`${key}: ${whyMissing(window, key)}`);
  }
  return lines.join("\n");
}

const PAGE_OF_WINDOWS = 10;

function takeKeys(area, model, moment, zoom) {
  const last = model.windows.length - 1;
  const go = (place) => {
    const window = model.windows[Math.min(Math.max(place, 0), last)];
    moment.choose((window.from + window.to) / 2);
  };
  const here = () => windowAt(model, moment.time);
  const actions = {
    ArrowLeft: () => go(here() - 1),
    ArrowDown: () => go(here() - 1),
    ArrowRight: () => go(here() + 1),
    ArrowUp: () => go(here() + 1),
    PageDown: () => go(here() - PAGE_OF_WINDOWS),
    PageUp: () => go(here() + PAGE_OF_WINDOWS),
    Home: () => go(0),
    End: () => go(last),
    "+": () => zoom(2),
    "=": () => zoom(2),
    "-": () => zoom(0.5),
    0: () => zoom(0),
    " ": () => moment.togglePlay(),
  };
  area.addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });
}

const PRINT_PX = 600;

// On paper the whole is shown, as wide as a page leaves room for.
function takePrint(view) {
  const { axis, area } = view;
  let kept = null;
  const before = () => {
    kept = { from: axis.from, to: axis.to };
    axis.whole();
    resize(view, PRINT_PX);
  };
  const after = () => {
    if (kept !== null) Object.assign(axis, kept);
    kept = null;
    resize(view, area.clientWidth);
  };
  window.addEventListener("beforeprint", before);
  window.addEventListener("afterprint", after);
  return () => {
    window.removeEventListener("beforeprint", before);
    window.removeEventListener("afterprint", after);
  };
}
