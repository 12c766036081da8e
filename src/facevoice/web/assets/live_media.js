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
