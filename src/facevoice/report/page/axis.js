// One axis for all that is drawn over time: which part of the file is shown, and its ticks.

const LEAST_SHOWN_S = 4;
const PRINT_PX = 600;
const TICK_STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

// Which part of the file is shown, and where its moments lie.
class Axis {
  constructor(duration) {
    this.duration = Math.max(duration, 0.001);
    this.width = 1;
    this.whole();
  }

  get shown() { return this.to - this.from; }

  get least() { return Math.min(LEAST_SHOWN_S, this.duration); }

  get isWhole() { return this.shown >= this.duration - 1e-6; }

  get isClosest() { return this.shown <= this.least + 1e-6; }

  x(time) { return ((time - this.from) / this.shown) * this.width; }

  // From where to where a stretch of time is seen.
  ends({ from, to }) { return [Math.max(0, this.x(from)), Math.min(this.width, this.x(to))]; }

  time(x) {
    const time = this.from + (x / this.width) * this.shown;
    return Math.min(Math.max(time, 0), this.duration);
  }

  holds(time) { return time >= this.from && time <= this.to; }

  show(from, length) {
    this.from = Math.min(Math.max(from, 0), this.duration - length);
    this.to = this.from + length;
  }

  // Shows `shown` seconds so that `time` stays where it is, or comes to the middle if unseen.
  zoomTo(shown, time) {
    const length = Math.min(Math.max(shown, this.least), this.duration);
    const place = this.holds(time) ? (time - this.from) / this.shown : 0.5;
    this.show(time - place * length, length);
  }

  moveTo(from) { this.show(from, this.shown); }

  whole() { this.show(0, this.duration); }
}

function drawAxis(context, axis, bottom) {
  const least = axis.shown * (80 / axis.width);
  const step = TICK_STEPS_S.find((s) => s >= least) ?? Math.ceil(least / 14400) * 14400;
  context.font = `12px ${FONT}`;
  context.textBaseline = "top";
  context.textAlign = "left";
  for (let k = Math.ceil(axis.from / step - 1e-6); k * step <= axis.to + 1e-6; k += 1) {
    const x = Math.min(Math.max(Math.round(axis.x(k * step)) + 0.5, 0.5), axis.width - 0.5);
    fill(context, context.look.line, x - 0.5, bottom, 1, 5);
    fill(context, `${context.look.line}73`, x - 0.5, 0, 1, bottom);
    const text = clock(k * step, step < 1 ? 1 : 0);
    const width = context.measureText(text).width;
    context.fillStyle = context.look.soft;
    context.fillText(text, Math.min(Math.max(x - width / 2, 0), axis.width - width), bottom + 7);
  }
  fill(context, context.look.line, 0, bottom, axis.width, 1);
}

// On paper the whole is shown, as wide as a page leaves room for.
function takePrint(axis, resize, widthNow) {
  let kept = null;
  const before = () => {
    kept = { from: axis.from, to: axis.to };
    axis.whole();
    resize(PRINT_PX);
  };
  const after = () => {
    Object.assign(axis, kept);
    resize(widthNow());
  };
  const events = { beforeprint: before, afterprint: after };
  for (const [name, react] of Object.entries(events)) window.addEventListener(name, react);
  return () => {
    for (const [name, react] of Object.entries(events)) window.removeEventListener(name, react);
  };
}
