// Over the picture of a video: the face's box, what face and voice show, and the outcome.

const LONGEST_GAP_S = 0.5;
const CONTROLS_PX = 62;

// The box at a moment, between the two sightings next to it; null where that would be invention.
function faceAt(trace, time) {
  const { faceTimes, faceBoxes, tracks } = trace;
  const before = lastBefore(faceTimes, time);
  if (before < 0) return null;
  const box = (k) => faceBoxes.slice(4 * k, 4 * k + 4);
  const waited = time - faceTimes[before];
  if (waited < 1e-3) return { box: box(before), who: tracks[before] };
  const after = before + 1;
  if (after >= faceTimes.length || tracks[after] !== tracks[before]) return null;
  const gap = faceTimes[after] - faceTimes[before];
  if (gap > LONGEST_GAP_S) return null;
  const next = box(after);
  const part = waited / gap;
  return { box: box(before).map((a, k) => a + part * (next[k] - a)), who: tracks[before] };
}

function createOverlay(video, model) {
  const canvas = el("canvas", { class: "fv-overlay", "aria-hidden": "true" });
  const parent = video.parentElement;
  const position = parent.style.position;
  if (getComputedStyle(parent).position === "static") parent.style.position = "relative";
  // Styled by hand: the video may stand outside of the root that the style sheet covers.
  Object.assign(canvas.style, { position: "absolute", pointerEvents: "none", zIndex: "1" });
  video.after(canvas);
  let isNear = false;
  const enter = () => { isNear = true; draw(); };
  const leave = () => { isNear = false; draw(); };
  parent.addEventListener("pointerenter", enter);
  parent.addEventListener("pointerleave", leave);

  function draw() {
    const area = pictureArea(video);
    canvas.hidden = area === null || !model.windows.length;
    canvas.style.display = canvas.hidden ? "none" : "block";
    if (canvas.hidden) return;
    const place = (side) => `${area[side]}px`;
    const [left, top, width, height] = ["left", "top", "width", "height"].map(place);
    Object.assign(canvas.style, { left, top, width, height });
    const context = fitCanvas(canvas, area.width, area.height);
    const window = model.windows[windowAt(model, video.currentTime)];
    const face = model.trace === null ? null : faceAt(model.trace, video.currentTime);
    if (face !== null) drawFace(context, model, window, face, area);
    const hasControls = video.controls && (video.paused || isNear);
    const below = video.offsetTop + video.clientHeight - area.top - area.height;
    drawCaption(context, model, window, area, hasControls ? Math.max(0, CONTROLS_PX - below) : 0);
  }

  const observer = new ResizeObserver(draw);
  observer.observe(video);
  return {
    draw,
    destroy() {
      observer.disconnect();
      parent.removeEventListener("pointerenter", enter);
      parent.removeEventListener("pointerleave", leave);
      parent.style.position = position;
      canvas.remove();
    },
  };
}

// Where in its parent the video's picture lies, without bars beside or above it.
function pictureArea(video) {
  const [w, h] = [video.videoWidth, video.videoHeight];
  const [boxWidth, boxHeight] = [video.clientWidth, video.clientHeight];
  if (!w || !h || !boxWidth || !boxHeight) return null;
  const scale = Math.min(boxWidth / w, boxHeight / h);
  const [width, height] = [w * scale, h * scale];
  return {
    left: video.offsetLeft + video.clientLeft + (boxWidth - width) / 2,
    top: video.offsetTop + video.clientTop + (boxHeight - height) / 2,
    width,
    height,
  };
}

function tag(context, text, x, y, { color, ink }) {
  context.font = `600 13px ${FONT}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  const width = context.measureText(text).width + 12;
  context.fillStyle = color;
  context.fillRect(x, y, width, 21);
  context.fillStyle = ink;
  context.fillText(text, x + 6, y + 11);
  return width;
}

function drawFace(context, model, window, { box, who }, area) {
  const [x0, y0, x1, y1] = box.map((part, k) => part * (k % 2 ? area.height : area.width));
  const outcome = window.outcomeOf;
  context.strokeStyle = "rgba(255, 255, 255, 0.9)";
  context.lineWidth = 5;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  context.strokeStyle = outcome.color;
  context.lineWidth = 3;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  const said = reading(model, window.faceTop);
  const text = `face ${who}${said === null ? "" : ` · ${said}`}`;
  context.font = `600 13px ${FONT}`;
  const most = Math.max(0, area.width - context.measureText(text).width - 12);
  const x = Math.min(Math.max(x0 - 2, 0), most);
  tag(context, text, x, y0 >= 24 ? y0 - 22 : Math.max(y0, 0) + 2, outcome);
}

function drawCaption(context, model, window, area, raised) {
  const said = reading(model, window.voiceTop);
  const text = said === null ? `no voice: ${whyMissing(window, "voice")}` : `voice: ${said}`;
  const outcome = window.outcomeOf;
  const y = area.height - 21 - raised;
  context.fillStyle = "rgba(31, 41, 51, 0.82)";
  context.fillRect(0, y, area.width, 21);
  const width = tag(context, outcome.name, 0, y, outcome);
  context.font = `13px ${FONT}`;
  context.fillStyle = "#FFFFFF";
  context.save();
  context.beginPath();
  context.rect(0, y, area.width, 21);
  context.clip();
  context.fillText(text, width + 8, y + 11);
  context.restore();
}
