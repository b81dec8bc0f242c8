// The visitor's camera: frames are drawn small, and pushed as JPEGs with the time at which they were captured.
const SIDE = 384; // pixels of the long side that is sent
const QUALITY = 0.7;
const FRAME_MS = 80; // 12.5 frames a second
const MOST_QUEUED = 4; // frames, for a slow line, which loses the oldest and not time
const find = (selector) => element.querySelector(selector);
const say = (text) => { find('[role="status"]').textContent = text; };
const canvas = document.createElement('canvas');
let stream = null, wanted = false, session = 0, began = 0, sending = false, sent = 0, bytes = 0, lost = 0, reported = 0;
let queue = []; // frames, in time order

const REFUSED = {
  NotAllowedError: 'The browser was not allowed to use the camera: allow it beside the address, then start again.',
  NotFoundError: 'No camera was found: plug one in, then start again.',
  NotReadableError: 'The camera is in use by another program: close that, then start again.',
};

const stop = (text) => {
  wanted = false;
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  find('video').srcObject = null;
  find('.sc-camera').classList.remove('on');
  find('[data-do="camera"]').textContent = 'Start the camera';
  say(text);
};

const start = async () => {
  if (!navigator.mediaDevices) {
    say('The browser gives the camera to pages at https or localhost only: open the app there.');
    return;
  }
  say('Asking for the camera …');
  wanted = true;
  let given;
  try {
    given = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
  } catch (error) {
    wanted = false;
    say(REFUSED[error.name] || `The camera cannot be used: ${error.message}`);
    return;
  }
  if (!wanted) { given.getTracks().forEach((track) => track.stop()); return; } // it was stopped while it was asked for
  stream = given;
  stream.getVideoTracks()[0].onended = () => stop('The camera was lost: plug it in again, then start it.');
  const video = find('video');
  video.srcObject = stream;
  await video.play().catch(() => {});
  if (stream !== given) return;
  find('.sc-camera').classList.add('on');
  find('[data-do="camera"]').textContent = 'Stop the camera';
  say('Getting ready …');
  trigger('begun'); // opens a session; its answer is a new value
};

const base64 = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

const capture = async () => {
  const video = find('video');
  const seconds = (performance.now() - began) / 1000, scale = SIDE / Math.max(video.videoWidth, video.videoHeight);
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', QUALITY));
  queue.push({ seconds, jpeg: await base64(blob) });
  queue.sort((one, other) => one.seconds - other.seconds);
  bytes += blob.size;
  sent += 1;
  while (queue.length > MOST_QUEUED) { queue.shift(); lost += 1; }
  push();
};

// One push is on its way at a time, with all that waits, so that frames arrive in the order of their capture.
const push = async () => {
  if (sending) return;
  sending = true;
  while (queue.length && stream) {
    const frames = queue.splice(0);
    try {
      const answer = await server.push({ key: props.value.key, frames });
      if (!answer.listening && stream) stop('The session of this camera has ended: start it again.');
    } catch (error) {
      lost += frames.length;
    }
  }
  sending = false;
};

const run = async (mine) => {
  began = performance.now();
  [sent, bytes, lost, reported, queue] = [0, 0, 0, began, []];
  while (stream && stream === mine && element.isConnected) {
    const now = performance.now();
    if (find('video').videoWidth) capture();
    if (now - reported > 1000) {
      const rate = sent / ((now - reported) / 1000), size = sent ? bytes / sent / 1000 : 0;
      say(`${rate.toFixed(0)} frames a second, ${size.toFixed(0)} KB each` + (lost ? `, ${lost} lost on the way` : ''));
      [sent, bytes, reported] = [0, 0, now];
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, FRAME_MS - (performance.now() - now))));
  }
};

element.addEventListener('click', (event) => {
  if (!event.target.closest('[data-do="camera"]')) return;
  if (wanted) stop('The camera is stopped. Ask about what it saw, or start it again to go on.'); else start();
});
watch('value', () => {
  if (!stream) return;
  if (!props.value || !props.value.camera) stop('');
  else if (props.value.session !== session) { session = props.value.session; run(stream); }
});
