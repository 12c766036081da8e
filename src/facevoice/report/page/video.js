// A video beside the timeline: chosen from disk, followed while it plays, and over its picture the
// face's box, what face and voice show, and the outcome.

const LONGEST_GAP_S = 0.5;
const CONTROLS_PX = 62;

// The box of a track at a moment, between the two sightings next to it; null where that would be
// invention.
function boxAt({ times, boxes }, time) {
  const before = lastBefore(times, time);
  if (before < 0) return null;
  const waited = time - times[before];
  if (waited < 1e-3) return boxes[before];
  const after = before + 1;
  if (after >= times.length) return null;
  const gap = times[after] - times[before];
  if (gap > LONGEST_GAP_S) return null;
  return boxes[before].map((a, k) => a + (waited / gap) * (boxes[after][k] - a));
}

// The faces at a moment, {box, person}, the judged one last; of people who are left out, none.
function facesAt(model, window, time) {
  const faces = model.trace === null ? [] : model.trace.tracks.flatMap((track) => {
    const box = boxAt(track, time);
    const person = model.owners.get(track.who) ?? null;
    return box === null || person?.is_left_out ? [] : [{ box, person }];
  });
  const isJudged = ({ person }) => person === null || person.number === window.person;
  return faces.map((face) => ({ ...face, isJudged: isJudged(face) })).sort((a, b) => a.isJudged - b.isJudged);
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
  const notice = (event) => { isNear = event.type === "pointerenter"; draw(); };
  for (const name of ["pointerenter", "pointerleave"]) parent.addEventListener(name, notice);

  function draw() {
    const area = pictureArea(video);
    canvas.hidden = area === null || !model.windows.length;
    canvas.style.display = canvas.hidden ? "none" : "block";
    if (canvas.hidden) return;
    const place = (side) => `${area[side]}px`;
    const [left, top, width, height] = ["left", "top", "width", "height"].map(place);
    Object.assign(canvas.style, { left, top, width, height });
    const context = fitCanvas(canvas, area.width, area.height, model.look);
    const window = model.windows[windowAt(model, video.currentTime)];
    for (const face of facesAt(model, window, video.currentTime)) drawFace(context, model, window, face, area);
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
      for (const name of ["pointerenter", "pointerleave"]) parent.removeEventListener(name, notice);
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

const TAG_PX = 21;

function tag(context, text, x, y, { color, ink }) {
  context.font = `600 13px ${FONT}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  const width = context.measureText(text).width + 12;
  fill(context, color, x, y, width, TAG_PX);
  context.fillStyle = ink;
  context.fillText(text, x + 6, y + 11);
  return width;
}

const QUIET = { color: "#55616B", ink: "#FFFFFF" };

// The judged face in the colour of the outcome with what it shows; of others, who they are.
function drawFace(context, model, window, { box, person, isJudged }, area) {
  const [x0, y0, x1, y1] = box.map((part, k) => part * (k % 2 ? area.height : area.width));
  const look = isJudged ? window.outcomeOf : QUIET;
  const px = isJudged ? 3 : 2;
  for (const [color, width] of [["rgba(255, 255, 255, 0.9)", px + 2], [look.color, px]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  const text = faceWords(model, window, person, isJudged);
  context.font = `600 13px ${FONT}`;
  const most = Math.max(0, area.width - context.measureText(text).width - 12);
  const x = Math.min(Math.max(x0 - 2, 0), most);
  tag(context, text, x, y0 >= 24 ? y0 - 22 : Math.max(y0, 0) + 2, look);
}

function faceWords(model, window, person, isJudged) {
  const name = (person === null ? null : nameOf(model, person.number)) ?? "The face";
  return window.face === null || !isJudged ? name : told(model, window, "face", name);
}

function drawCaption(context, model, window, area, raised) {
  const voice = window.apart === null ? "the voice" : `${window.apart}: the voice`;
  const text = capital(told(model, window, "voice", voice));
  const y = area.height - TAG_PX - raised;
  fill(context, "rgba(31, 41, 51, 0.82)", 0, y, area.width, TAG_PX);
  const width = tag(context, window.outcomeOf.name, 0, y, window.outcomeOf);
  context.font = `13px ${FONT}`;
  context.fillStyle = "#FFFFFF";
  context.fillText(text, width + 8, y + 11);  // What is too long ends with the picture.
}

// Keeps the playhead and the video together, with what is drawn over the picture.
function followVideo(video, model, playhead) {
  const overlay = createOverlay(video, model);
  let frame = 0;
  const step = () => {
    playhead.follow(video.currentTime);
    overlay.draw();
    frame = video.paused || video.ended ? 0 : requestAnimationFrame(step);
  };
  const update = () => { if (!frame) step(); };
  const events = ["play", "pause", "seeking", "seeked", "timeupdate", "loadedmetadata", "loadeddata"];
  for (const name of events) video.addEventListener(name, update);
  Object.assign(playhead, { video, overlay });
  if (video.readyState > 0) update();
  return {
    destroy() {
      for (const name of events) video.removeEventListener(name, update);
      cancelAnimationFrame(frame);
      overlay.destroy();
      if (playhead.video === video) Object.assign(playhead, { video: null, overlay: null });
    },
  };
}

// Asks for the file; it is played from disk by an address that never leaves this page.
function createPicker(model, playhead) {
  const status = el("p", { class: "fv-note", role: "status" });
  const input = el("input", { type: "file", accept: "video/*,audio/*,.mkv,.avi,.mov,.ts" });
  const stage = el("div", { class: "fv-stage" });
  let playing = null;
  const stop = () => {
    if (playing === null) return;
    playing.link.destroy();
    playing.video.removeAttribute("src");
    playing.video.load();
    URL.revokeObjectURL(playing.address);
    stage.replaceChildren();
    playing = null;
  };
  input.addEventListener("change", () => {
    const file = input.files[0];
    stop();
    status.textContent = "";
    if (!file) return;
    const address = URL.createObjectURL(file);
    const video = el("video", { controls: true, playsinline: true, preload: "auto" });
    video.addEventListener("error", () => {
      if (playing === null || playing.video !== video) return;
      stop();
      status.textContent = `This browser can't play ${file.name}; an MP4 with H.264 always works.`;
    });
    video.addEventListener("loadedmetadata", () => {
      status.textContent = doubts(model, file, video);
      if (playhead.time > 0) video.currentTime = playhead.time;
    });
    stage.replaceChildren(video);
    playing = { video, address, link: followVideo(video, model, playhead) };
    video.src = address;
  });
  const label = el(
    "label",
    { class: "fv-pick" },
    el("span", {}, "Watch along: choose the file on your disk"),
    input,
  );
  const promise = el("p", { class: "fv-note" }, "It plays in this page. Nothing is uploaded.");
  const element = el("section", { class: "fv-watch", "aria-label": "Watch along" }, label, promise, status);
  return { element, stage, destroy: stop };
}

function doubts(model, file, video) {
  const differs = Math.abs(video.duration - model.duration_s) > Math.max(1, 0.02 * model.duration_s);
  if (Number.isFinite(video.duration) && differs) {
    const lengths = `${clock(video.duration)} and not ${clock(model.duration_s)} long`;
    return `Is this the right file? ${file.name} is ${lengths}.`;
  }
  return file.name === model.title ? "" : `Playing ${file.name}; the report is of ${model.title}.`;
}
