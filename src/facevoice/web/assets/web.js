// Mounts reports into the page as gradio puts them there, and takes them away with it.
(function () {
  "use strict";
  var mounted = new WeakMap();
  var voice = null; // what screen readers hear of what goes on: few words, now and then
  var spoken = "";
  var CLIP = "clip "; // begins the ids of clips' reviews

  function say(text) {
    if (voice === null) {
      voice = document.createElement("div");
      voice.className = "fvw-hidden";
      voice.setAttribute("role", "status");
      document.body.appendChild(voice);
    }
    if (text !== spoken) voice.textContent = spoken = text;
  }

  function createStage(address, isSound) {
    var stage = document.createElement("div");
    stage.className = isSound ? "fvw-stage fvw-stage-sound" : "fvw-stage";
    var video = document.createElement(isSound ? "audio" : "video");
    video.controls = true;
    video.playsInline = true;
    video.preload = "metadata";
    video.setAttribute("aria-label", "The clip");
    var made = { element: stage, video: video };
    video.addEventListener("error", function () {
      var note = document.createElement("p");
      note.className = "fvw-small";
      note.textContent =
        "This browser can't play the file. The timeline works; the annotated video plays everywhere.";
      stage.replaceWith(note);
      made.element = note;
    });
    video.src = address;
    stage.appendChild(video);
    return made;
  }

  function mountResult(place) {
    if (mounted.has(place)) return;
    var result = { stage: null };
    mounted.set(place, result);
    show(place, result);
    // The button that was pressed is gone: keys go on from the result.
    var title = place.querySelector(".fv-title");
    title.tabIndex = -1;
    title.focus();
  }

  // Gradio leaves the place and changes its view where the same clip is judged at another setting:
  // the film stays, at its time, and whoever chose the setting stays at the control.
  function showAgain(place) {
    var result = mounted.get(place);
    if (!result) return;
    var isSame = result.address === place.dataset.media;
    var time = isSame && result.stage && result.stage.video.currentTime;
    result.handle.destroy();
    place.replaceChildren();
    show(place, result);
    if (time) result.handle.seek(time);
  }

  function show(place, result) {
    var view = JSON.parse(place.dataset.view), address = place.dataset.media;
    if (!view.windows.length) result.stage = null;
    else if (!result.stage || result.address !== address)
      result.stage = createStage(address, view.status === "audio_only");
    result.address = address;
    var body = document.createElement("div"), stage = result.stage;
    place.appendChild(body);
    // The page's own controls tell the sensitivity: downloads follow them too.
    result.handle = window.facevoice.mount(body, view, {
      video: stage && stage.video, stage: stage && stage.element, switch: false,
      theme: isDark() ? "dark" : "light", keepReview: place.closest(".block").keepReview,
      reviewId: CLIP + address,
    });
    arrange(body);
    say("The result is there. " + body.querySelector(".fv-sentence > span:last-child").textContent);
  }

  // First what the clip says, whole: what the setting means comes after the timeline. The notice
  // stands above already.
  function arrange(body) {
    var meaning = body.querySelector(".fv-points"), notice = body.querySelector(".fv-notice");
    if (meaning) body.querySelector(".fv-desk").after(meaning);
    if (notice) notice.remove();
    var hint = body.querySelector(".fv-review-panel > .fv-note:last-child");
    if (hint) hint.textContent =
      "What you say is kept on this server until you leave, and stands in all downloads above.";
  }

  // Gradio shows the question, but readers would hear the answers alone.
  function nameSetting(box) {
    box.setAttribute("aria-label", box.querySelector("[data-testid=block-info]").textContent.trim());
  }

  function showProgress(place) {
    var line = place.textContent.match(/Number \d+ in the line/);
    if (line) say("Waiting: " + line[0].toLowerCase() + ".");
    else if (place.textContent.indexOf("Drawing") >= 0) say("Drawing the video.");
    else if (place.textContent.indexOf("Getting to know") >= 0) say("The recordings are being read.");
    else if (place.textContent.indexOf("Waiting") < 0) say("The clip is being read.");
    else place.scrollIntoView({ block: "nearest" }); // it begins: on a phone this lies far below
  }

  function each(node, selector, act) {
    (node.matches(selector) ? [node] : Array.from(node.querySelectorAll(selector))).forEach(act);
  }

  function look(node) {
    if (node.nodeType !== 1) return;
    each(node, ".fvw-result", mountResult);
    each(node, "#fvw-settings fieldset", nameSetting);
    each(node, ".fvw-progress", showProgress);
    each(node, ".fvw-problem", function () { spoken = ""; }); // is an alert by itself
    each(node, ".fvw-clips", window.facevoicePick.draw);
    each(node, ".fvw-fetched", function (link) { link.click(); });
    each(node, ".fvw-live", function (place) { window.facevoiceLive.mount(place); });
  }

  function forget(node) {
    if (node.nodeType !== 1) return;
    each(node, ".fvw-result", function (place) {
      var result = mounted.get(place);
      if (result) result.handle.destroy();
      mounted.delete(place);
    });
    each(node, ".fvw-live", function (place) { window.facevoiceLive.unmount(place); });
  }

  // The server forgets what was said of clips when it forgets them: nothing goes unasked that no file
  // holds. The server tells up to which number a file holds what was said; the one that is under way
  // isn't in it yet.
  function minds(event) {
    if (event.target.closest("#fvw-again")) {
      if (window.facevoice.mayForget(CLIP)) return;
      event.preventDefault();
      event.stopImmediatePropagation(); // before gradio hears of it
    }
    var all = event.target.closest(".fvw-fetched");
    if (all) window.facevoice.wasDownloaded(all.href, Number(all.dataset.said), CLIP);
    var link = event.target.closest("#fvw-json, #fvw-csv, #fvw-html, #fvw-menu a");
    var place = document.querySelector(".fvw-result"), files = document.querySelector("#fvw-others [data-said]");
    if (link && place && files) window.facevoice.wasDownloaded(
      link.href || "", Number(files.dataset.said), CLIP + place.dataset.media);
  }

  // Gradio's class follows the system, or what the address asks for; the reports follow the class.
  function isDark() { return document.body.classList.contains("dark"); }

  function themeAll() {
    document.querySelectorAll(".fvw-result").forEach(function (place) {
      var result = mounted.get(place);
      if (result) result.handle.useTheme(isDark() ? "dark" : "light");
    });
    window.facevoiceLive.repaint();
  }

  function followSystem(media) { document.body.classList.toggle("dark", media.matches); }

  function begin() {
    var dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", followSystem);
    new MutationObserver(themeAll).observe(document.body, { attributeFilter: ["class"] });
    look(document.body);
    document.addEventListener("click", minds, true);
    new MutationObserver(function (changes) {
      changes.forEach(function (change) {
        if (change.type === "attributes") return change.target.matches(".fvw-clips")
          ? window.facevoicePick.draw(change.target) : showAgain(change.target);
        change.removedNodes.forEach(forget);
        change.addedNodes.forEach(look);
        // Gradio may change the words within a node and leave the node.
        var parent = change.target.parentElement, place = parent && parent.closest(".fvw-progress");
        if (place || change.target.className === "fvw-progress") showProgress(place || change.target);
      });
    }).observe(document.body,
      { childList: true, characterData: true, subtree: true, attributeFilter: ["data-view", "data-media", "data-clips"] });
  }

  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
