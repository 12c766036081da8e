// A video beside the timeline: chosen from disk, followed while it plays.

// Keeps the moment and the video together, with what is drawn over the picture.
function followVideo(video, model, moment) {
  const overlay = createOverlay(video, model);
  let frame = 0;
  const step = () => {
    moment.follow(video.currentTime);
    overlay.draw();
    frame = video.paused || video.ended ? 0 : requestAnimationFrame(step);
  };
  const update = () => { if (!frame) step(); };
  const events = ["play", "pause", "seeking", "seeked", "timeupdate", "loadedmetadata", "loadeddata"];
  for (const name of events) video.addEventListener(name, update);
  moment.video = video;
  if (video.readyState > 0) update();
  return {
    destroy() {
      for (const name of events) video.removeEventListener(name, update);
      cancelAnimationFrame(frame);
      overlay.destroy();
      if (moment.video === video) moment.video = null;
    },
  };
}

// Asks for the file; it is played from disk by an address that never leaves this page.
function createPicker(model, moment) {
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
      if (moment.time > 0) video.currentTime = moment.time;
    });
    stage.replaceChildren(video);
    playing = { video, address, link: followVideo(video, model, moment) };
    video.src = address;
  });
  const label = el(
    "label",
    { class: "fv-pick" },
    el("span", {}, "Watch along: choose the video file on your disk"),
    input,
  );
  const promise = el("p", { class: "fv-note" }, "It plays in this page. Nothing is uploaded.");
  const element = el("section", { class: "fv-watch", "aria-label": "Watch along" }, label, promise, status, stage);
  return { element, destroy: stop };
}

function doubts(model, file, video) {
  const differs = Math.abs(video.duration - model.duration_s) > Math.max(1, 0.02 * model.duration_s);
  if (Number.isFinite(video.duration) && differs) {
    const lengths = `${clock(video.duration)} and not ${clock(model.duration_s)} long`;
    return `Is this the right file? ${file.name} is ${lengths}.`;
  }
  return file.name === model.title ? "" : `Playing ${file.name}; the report is of ${model.title}.`;
}
