// Puts the parts together; the only thing that the page around sees is `window.facevoice.mount`.

// The moment that is looked at: chosen by people, or followed from a video.
class Moment {
  constructor(duration) {
    this.duration = duration;
    this.time = 0;
    this.video = null;
    this.isChosen = true;
    this.changed = () => {};
  }

  choose(time) {
    this.time = Math.min(Math.max(time, 0), this.duration);
    if (this.video !== null) this.video.currentTime = this.time;
    this.isChosen = true;
    this.changed(false);
  }

  follow(time) {
    this.time = Math.min(Math.max(time, 0), this.duration);
    this.isChosen = false;
    this.changed(true);
  }

  togglePlay() {
    if (this.video === null) return;
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }
}

// Shows a view of `to_view` in an empty element; {video, pickVideo}: a video to follow, whether to
// offer to choose one. Gives {seek(t_s), destroy()}.
function mount(element, view, options) {
  const { video = null, pickVideo = false } = options ?? {};
  const model = openView(view);
  const level = document.querySelector("h1") === null ? 1 : 2;
  const moment = new Moment(model.duration_s);
  const parts = [createHeader(model, level)];
  const ends = [];
  if (model.windows.length) addResults(model, moment, level + 1, { parts, ends, video, pickVideo });
  parts.push(createFooter(model));
  element.classList.add("fv-root");
  element.replaceChildren(...parts.map((part) => part.element ?? part));
  if (video !== null && model.windows.length) ends.push(followVideo(video, model, moment));
  moment.changed(false);
  return {
    seek: (seconds) => moment.choose(seconds),
    destroy() {
      for (const part of ends) part.destroy();
      moment.changed = () => {};
      element.classList.remove("fv-root");
      element.replaceChildren();
    },
  };
}

function addResults(model, moment, level, { parts, ends, video, pickVideo }) {
  const timeline = createTimeline(model, moment, level);
  const detail = createDetail(model, level);
  const table = createTable(model, (window) => moment.choose((window.from + window.to) / 2));
  if (video === null && pickVideo) {
    const picker = createPicker(model, moment);
    parts.push(picker);
    ends.push(picker);
  }
  parts.push(timeline, detail, createSummary(model, level), table);
  moment.changed = (isFollowing) => {
    timeline.show(moment.time, isFollowing);
    detail.show(moment.time);
  };
  const print = () => {
    table.build();
    table.element.open = true;
  };
  window.addEventListener("beforeprint", print);
  ends.push(timeline, { destroy: () => window.removeEventListener("beforeprint", print) });
}

window.facevoice = { ...(window.facevoice ?? {}), mount };
