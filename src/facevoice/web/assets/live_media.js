// Camera and microphone: opening them, and what to say where they can't be had.
var WORKLET =
  "class Blocks extends AudioWorkletProcessor{constructor(o){super();this.size=" +
  "o.processorOptions.size;this.held=new Float32Array(this.size);this.n=0}" +
  "process(inputs){const c=inputs[0];if(!c.length)return true;const len=c[0].length;" +
  "for(let i=0;i<len;i++){let s=0;for(const x of c)s+=x[i];this.held[this.n++]=s/c.length;" +
  "if(this.n===this.size){this.port.postMessage(this.held);" +
  "this.held=new Float32Array(this.size);this.n=0}}return true}}" +
  "registerProcessor('facevoice-blocks',Blocks)";

async function openMedia() {
  if (!navigator.mediaDevices) throw new Error("insecure");
  var video = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 15 } };
  var audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false,
                autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ video: video, audio: audio });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: video });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
  }
  return navigator.mediaDevices.getUserMedia({ audio: audio });
}

function closeTracks(media) {
  media.getTracks().forEach(function (track) { track.stop(); });
}

function explain(error) {
  if (error.message === "insecure")
    return "Browsers give camera and microphone to pages at https:// or localhost only.";
  if (error.name === "NotAllowedError")
    return "Camera and microphone were not allowed. Allow them in the address bar and start again.";
  if (error.name === "NotFoundError") return "No camera and no microphone was found.";
  if (error.name === "NotReadableError") return "Camera or microphone is in use by another program.";
  return "Camera and microphone can't be used: " + error.message;
}

// Record what a camera and a microphone give; `done(blob)` when that was stopped, or they ended.
function record(media, done) {
  var kinds = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4", "audio/webm", "audio/mp4"];
  var isVideo = media.getVideoTracks().length > 0;
  var kind = kinds.find(function (name) {
    return name.startsWith(isVideo ? "video" : "audio") && MediaRecorder.isTypeSupported(name);
  });
  var recorder = new MediaRecorder(media, kind ? { mimeType: kind } : {}), held = [];
  recorder.ondataavailable = function (event) { if (event.data.size) held.push(event.data); };
  recorder.onstop = function () { done(new Blob(held, { type: recorder.mimeType })); };
  recorder.start(1000);
  return { stop: function () { if (recorder.state !== "inactive") recorder.stop(); } };
}

function asFile(blob, name) {
  var ending = blob.type.includes("mp4") ? ".mp4" : ".webm";
  return new File([blob], name + ending, { type: blob.type });
}
