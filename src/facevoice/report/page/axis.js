// Which part of the file is shown, and where its moments lie.

const LEAST_SHOWN_S = 4;

class Axis {
  constructor(duration) {
    this.duration = Math.max(duration, 0.001);
    this.from = 0;
    this.to = this.duration;
    this.width = 1;
  }

  get shown() { return this.to - this.from; }

  get isWhole() { return this.shown >= this.duration - 1e-6; }

  get isClosest() { return this.shown <= Math.min(LEAST_SHOWN_S, this.duration) + 1e-6; }

  x(time) { return ((time - this.from) / this.shown) * this.width; }

  time(x) {
    const time = this.from + (x / this.width) * this.shown;
    return Math.min(Math.max(time, 0), this.duration);
  }

  holds(time) { return time >= this.from && time <= this.to; }

  // Shows `shown` seconds so that `time` stays where it is, or comes to the middle if unseen.
  zoomTo(shown, time) {
    const least = Math.min(LEAST_SHOWN_S, this.duration);
    const length = Math.min(Math.max(shown, least), this.duration);
    const place = this.holds(time) ? (time - this.from) / this.shown : 0.5;
    this.from = this.clamp(time - place * length, length);
    this.to = this.from + length;
  }

  moveTo(from) {
    const length = this.shown;
    this.from = this.clamp(from, length);
    this.to = this.from + length;
  }

  whole() {
    this.from = 0;
    this.to = this.duration;
  }

  clamp(from, length) { return Math.min(Math.max(from, 0), this.duration - length); }
}

const TICK_STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

function tickStep(axis) {
  const least = axis.shown * (80 / axis.width);
  return TICK_STEPS_S.find((step) => step >= least) ?? Math.ceil(least / 14400) * 14400;
}

function drawAxis(context, axis, top, bottom) {
  const step = tickStep(axis);
  const digits = step < 1 ? 1 : 0;
  context.font = `12px ${FONT}`;
  context.textBaseline = "top";
  for (let k = Math.ceil(axis.from / step - 1e-6); k * step <= axis.to + 1e-6; k += 1) {
    const x = Math.min(Math.max(Math.round(axis.x(k * step)) + 0.5, 0.5), axis.width - 0.5);
    context.fillStyle = LINE;
    context.fillRect(x - 0.5, bottom.line, 1, 5);
    context.fillStyle = "rgba(213, 217, 221, 0.45)";
    context.fillRect(x - 0.5, top, 1, bottom.line - top);
    const text = clock(k * step, digits);
    const width = context.measureText(text).width;
    context.fillStyle = SOFT_INK;
    context.textAlign = "left";
    const left = Math.min(Math.max(x - width / 2, 0), axis.width - width);
    context.fillText(text, left, bottom.line + 7);
  }
}
