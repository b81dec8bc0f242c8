// The live part of the page: gauges, motion, and the memory over time. It asks twice a second for what changed.
const LOOK_MS = 500;
const ROW = 18; // height of a level of the tree, in pixels
const MOTION_SAMPLES = 200;
const SVG = 'http://www.w3.org/2000/svg';
const INTRODUCTION = element.querySelector('.sc-node').innerHTML;

let state; // what the page knows of the session
const find = (selector) => element.querySelector(selector);
const playerVideo = () => document.querySelector('#player video');
const playable = (video) => video && video.readyState >= 1 && video.videoWidth > 0 && video.offsetParent !== null;
const asked = (more) => ({ key: (props.value || {}).key, ...more });
const clock = (seconds) => {
  const whole = Math.floor(seconds), two = (number) => String(number).padStart(2, '0');
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return (hours ? hours + ':' + two(minutes) : minutes) + ':' + two(whole % 60);
};
const say = (node, text) => { if (node && node.textContent !== text) node.textContent = text; };
const made = (tag, values = {}, ...inside) => {
  const node = Object.assign(document.createElement(tag), values);
  node.append(...inside);
  return node;
};

// A loaded session goes on in its video where it ended, as soon as the player is there.
const resumeAt = (mine, seconds, tries) => {
  if (state !== mine || goTo(seconds) || tries === 0) return;
  setTimeout(() => resumeAt(mine, seconds, tries - 1), 200);
};

const begin = () => {
  state = {
    serial: 0, rows: new Map(), blocks: new Map(), levels: 0, motion: [], preview: -1, end: 0, position: 0, follows: null, finished: false,
    chosen: null, reached: null, highlighted: [], posted: null, pictures: new Map(),
  };
  find('.sc-tree svg').replaceChildren();
  find('.sc-node').innerHTML = INTRODUCTION;
  showGauges(null);
  showStatus(null);
  showPreview(null);
  drawMotion();
  drawStrip([1, []], null);
  if (props.value && props.value.begins > 0) resumeAt(state, props.value.begins, 300);
};

// Gauges, status, hint

const showGauges = (values) => {
  element.querySelectorAll('.sc-gauge:not(.sc-motion) dd').forEach((tile, index) => {
    const [value, detail] = values ? values[index] : ['–', ''];
    say(tile.querySelector('span'), value);
    say(tile.querySelector('small'), detail);
  });
};

const showStatus = (status) => {
  const line = find('.sc-status');
  line.hidden = !status;
  line.className = 'sc-status ' + (status ? status.kind : '');
  say(line, status ? status.text : '');
};

const showHint = () => {
  const video = playerVideo(), scope = document.querySelector('#scope');
  if (scope) scope.hidden = state.follows !== 'player';
  const whole = state.follows === 'whole' || (state.follows === 'player' && scope && scope.querySelector('[value=whole]:checked'));
  const texts = {
    seen: 'You ask about what was seen up to now.',
    player: `You ask about what was shown up to ${clock(video ? video.currentTime : 0)}.`,
  };
  const done = state.finished ? '.' : `, once it is processed: ${clock(state.position)} of ${clock(state.end)}.`;
  say(document.querySelector('#hint p'), whole ? 'You ask about the whole video' + done
    : texts[state.follows] || 'A question is about what was shown up to the moment you ask it.');
};

const showPreview = (preview) => { // over the player, which has nothing to show
  const player = document.querySelector('#player');
  let image = document.querySelector('.sc-preview');
  if (preview) {
    if (!image) image = made('img', { className: 'sc-preview', alt: 'The newest frame that was processed' });
    if (player && image.parentElement !== player) player.append(image);
    image.src = 'data:image/jpeg;base64,' + preview.jpeg;
    state.preview = preview.seconds;
  } else if (state.preview < 0 && image) image.remove();
};

// Drawing

const color = (name) => getComputedStyle(element.querySelector('.sc-memory')).getPropertyValue(name);
const penOf = (canvas) => {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  return [pen, width, height];
};

const drawMotion = () => {
  const [pen, width, height] = penOf(find('.sc-motion canvas'));
  const samples = state.motion;
  if (samples.length < 2) return;
  const from = samples[0][0], to = samples[samples.length - 1][0];
  const top = 1.15 * Math.max(1e-6, ...samples.flatMap(([, motion, threshold]) => [motion, threshold ?? 0]));
  const line = (index, style, dashes) => {
    let down = false; // a missing value lifts the pen
    pen.beginPath();
    for (const sample of samples) {
      const x = (sample[0] - from) / (to - from) * width, y = height - 1 - sample[index] / top * (height - 2);
      if (sample[index] !== null) { if (down) pen.lineTo(x, y); else pen.moveTo(x, y); }
      down = sample[index] !== null;
    }
    pen.setLineDash(dashes);
    pen.strokeStyle = style;
    pen.lineWidth = 1.5;
    pen.stroke();
  };
  line(2, color('--sc-threshold'), [4, 3]);
  line(1, color('--sc-kept'), []);
};

const drawStrip = ([binSeconds, counts], short) => {
  const [pen, width, height] = penOf(find('.sc-strip canvas'));
  const scale = width / Math.max(state.end, 1e-6), most = Math.max(1, ...counts);
  pen.fillStyle = color('--sc-kept');
  counts.forEach((count, bin) => {
    const tall = (0.35 + 0.65 * count / most) * height;
    if (count) pen.fillRect(bin * binSeconds * scale, height - tall, Math.max(1, binSeconds * scale - 1), tall);
  });
  const shade = find('.sc-window');
  shade.hidden = !short;
  if (short) {
    shade.style.left = 100 * short[0] / state.end + '%';
    shade.style.width = Math.max(0.3, 100 * (short[1] - short[0]) / state.end) + '%';
  }
};

const drawHead = () => {
  const video = playerVideo(), head = find('.sc-now');
  head.hidden = !(playable(video) && state.end > 0);
  if (!head.hidden) head.style.left = Math.min(100, 100 * video.currentTime / state.end) + '%';
};

const drawTree = ({ all, nodes, gone }) => {
  const svg = find('.sc-tree svg');
  if (all) { svg.replaceChildren(); state.rows.clear(); state.blocks.clear(); }
  for (const id of gone) {
    const block = state.blocks.get(id);
    if (block) block.remove();
    state.blocks.delete(id);
    state.rows.delete(id);
  }
  for (const row of nodes) { state.rows.set(row[0], row); place(row); }
  const levels = 1 + Math.max(-1, ...[...state.rows.values()].map((row) => row[3]));
  if (levels !== state.levels || all) {
    state.levels = levels;
    svg.style.height = Math.max(levels, 3) * ROW + 'px';
    for (const row of state.rows.values()) layer(row);
  } else nodes.forEach(layer);
  svg.classList.toggle('dense', state.rows.size > svg.clientWidth / 5);
  svg.setAttribute('viewBox', `0 0 ${Math.max(state.end, 1e-3)} ${Math.max(levels, 3) * ROW}`);
};

const place = ([id, start, end, level, captioned]) => {
  let block = state.blocks.get(id);
  if (!block) {
    block = document.createElementNS(SVG, 'rect');
    block.dataset.node = id;
    block.setAttribute('role', 'button');
    block.setAttribute('height', ROW - 2);
    state.blocks.set(id, block);
    find('.sc-tree svg').append(block);
  }
  block.setAttribute('x', start);
  block.setAttribute('width', Math.max(end - start, 1e-3));
  block.classList.toggle('uncaptioned', !captioned);
  block.setAttribute('aria-label', `${clock(start)} to ${clock(end)}, ${level ? 'summary' : 'moment'}`);
};
const layer = ([id, , , level]) =>
  state.blocks.get(id).setAttribute('y', (Math.max(state.levels, 3) - 1 - level) * ROW + 1);

// One block can be reached by Tab; arrows go from it to the others.
const rove = (block) => {
  if (!block || block === state.reached) return;
  state.blocks.forEach((other) => { if (other.getAttribute('tabindex') !== '-1') other.setAttribute('tabindex', '-1'); });
  block.setAttribute('tabindex', '0');
  state.reached = block;
};

const highlight = (ids) => {
  for (const id of state.highlighted) state.blocks.get(id)?.classList.remove('highlighted');
  for (const id of ids) state.blocks.get(id)?.classList.add('highlighted');
  state.highlighted = ids;
};

// Nodes and moments, opened

const goTo = (seconds) => {
  const video = playerVideo();
  if (!playable(video)) return false;
  video.currentTime = seconds;
  video.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  return true;
};

const openNode = async (id, seek) => {
  state.blocks.get(state.chosen)?.classList.remove('chosen');
  state.chosen = id;
  const block = state.blocks.get(id), row = state.rows.get(id);
  if (block) { block.classList.add('chosen'); rove(block); block.focus({ preventScroll: true }); }
  if (row && seek) goTo(row[1]);
  const node = await server.node(asked({ id }));
  if (state.chosen !== id) return;
  if (!node) { find('.sc-node').replaceChildren(made('p', { textContent: 'This was folded into a larger stretch.' })); return; }
  const link = (other, text) => made('button', { type: 'button', className: 'sc-link', textContent: text,
    onclick: () => openNode(other, true) });
  const text = made('div', {},
    made('h3', { textContent: node.time }, made('small', { textContent: node.facts })),
    made('p', { textContent: node.caption || 'Not put into words yet.' }));
  const others = made('div', { className: 'sc-others' });
  if (row && row[5] !== null) others.append(link(row[5], 'Up to the larger stretch'));
  node.children.forEach(([child, time]) => others.append(link(child, time)));
  text.append(others);
  const image = node.keyframe
    ? [made('img', { src: 'data:image/jpeg;base64,' + node.keyframe, alt: 'A picture of this stretch' })] : [];
  find('.sc-node').replaceChildren(...image, text);
};

const pictureOf = (number) => {
  if (!state.pictures.has(number)) state.pictures.set(number, server.picture(asked({ id: Number(number) })));
  return state.pictures.get(number);
};
const fillPictures = () => document.querySelectorAll('#chat img[data-picture]:not([src])').forEach(async (image) => {
  const data = await pictureOf(image.dataset.picture);
  if (data) image.src = 'data:image/jpeg;base64,' + data; else image.remove();
});

const showMoment = (chip) => {
  const image = chip.querySelector('img'), shown = find('.sc-shown');
  shown.querySelector('img').src = image ? image.src : '';
  shown.querySelector('img').hidden = !image;
  say(shown.querySelector('p'), chip.getAttribute('aria-label').replace('Go to ', ''));
  shown.showModal();
};

const saveJson = async () => {
  const text = JSON.stringify(await server.memory(asked({})), null, 2);
  const link = made('a', { href: URL.createObjectURL(new Blob([text], { type: 'application/json' })), download: 'memory.json' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

// What the page listens to

element.addEventListener('click', (event) => {
  const block = event.target.closest('[data-node]');
  if (block) openNode(Number(block.dataset.node), true);
  else if (event.target.closest('[data-do="json"]')) saveJson();
  else if (event.target.closest('.sc-strip') && state.end) {
    const strip = find('.sc-strip').getBoundingClientRect();
    goTo((event.clientX - strip.left) / strip.width * state.end);
  }
});
element.addEventListener('keydown', (event) => {
  const block = event.target.closest('[data-node]');
  if (!block) return;
  const [id, , , level, , parent] = state.rows.get(Number(block.dataset.node));
  const ofLevel = (wanted) => [...state.rows.values()].filter((row) => row[3] === wanted).sort((a, b) => a[1] - b[1]);
  const same = ofLevel(level), index = same.findIndex((row) => row[0] === id);
  const children = [...state.rows.values()].filter((row) => row[5] === id).sort((a, b) => a[1] - b[1]);
  const to = { ArrowLeft: same[index - 1]?.[0], ArrowRight: same[index + 1]?.[0], ArrowUp: parent ?? undefined,
    ArrowDown: children[0]?.[0], Enter: id, ' ': id }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  openNode(to, true);
});
document.addEventListener('click', (event) => {
  const chip = event.target.closest && event.target.closest('[data-seek]');
  if (chip && !goTo(Number(chip.dataset.seek))) showMoment(chip);
  const copy = event.target.closest && event.target.closest('[data-copy]');
  if (copy) navigator.clipboard.writeText(copy.dataset.copy).then(() => say(copy, 'Copied'), () => say(copy, 'Not allowed'));
});
document.addEventListener('timeupdate', (event) => { // does not bubble, but is seen on its way down
  if (event.target === playerVideo()) { showHint(); drawHead(); }
}, true);
document.addEventListener('change', (event) => { if (event.target.closest('#scope')) showHint(); });
new MutationObserver(fillPictures).observe(document.querySelector('#chat') || document.body,
  { childList: true, subtree: true });

const show = (update) => {
  state.end = update.end;
  Object.assign(state, { position: update.position, follows: update.follows, finished: update.finished });
  showGauges(update.gauges);
  showStatus(update.status);
  showHint();
  showPreview(update.preview);
  state.motion = [...state.motion, ...update.motion].slice(-MOTION_SAMPLES);
  drawMotion();
  drawStrip(update.strip, update.short);
  drawTree(update);
  drawHead();
  if (!state.reached || !state.reached.isConnected) rove(state.blocks.values().next().value);
  highlight(update.highlighted);
  const rest = document.querySelector('#rest');
  if (rest && update.full_speed) rest.disabled = true;
  state.serial = update.serial;
  say(find('.sc-axis span:last-child'), clock(update.end));
  if (state.posted !== null && state.posted !== update.posted) trigger('posted');
  state.posted = update.posted;
};

const refresh = async () => {
  const before = state, video = playerVideo(), { motion } = state;
  const update = !(props.value || {}).session ? null : await server.view_of(asked({
    serial: state.serial, preview: state.preview, motion: motion.length ? motion[motion.length - 1][0] : -1,
    position: video && state.follows === 'player' ? video.currentTime : null,
    unplayable: Boolean(video && (video.error || (video.readyState >= 1 && !video.videoWidth))),
  }));
  if (update === undefined) throw new Error('no answer came');
  if (state === before && update && !update.ended) show(update);
  if (update && update.ended) {
    showStatus({ kind: 'error', text: 'This session has ended, as nothing was heard of this page for long. Reload it to begin anew.' });
  }
  find('[data-do="json"]').disabled = !update || Boolean(update.ended);
};
const forEver = async () => {
  while (element.isConnected) {
    try { await refresh(); } catch (error) { showStatus({ kind: 'error', text: 'The app does not answer: trying again. What it remembers is kept for a while.' }); }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
};

// The side bar's controls must not be reached by Tab while it is closed.
const bar = document.querySelector('.sidebar');
if (bar) {
  const content = bar.querySelector('.sidebar-content');
  const settle = () => { if (content) content.inert = !bar.classList.contains('open'); };
  new MutationObserver(settle).observe(bar, { attributes: true, attributeFilter: ['class'] });
  settle();
}

// A page that goes for good says so, and its place is free; one that loses its connection is waited for.
const root = ((window.gradio_config || {}).root || location.href.split(/[?#]/)[0]).replace(/\/$/, '');
addEventListener('pagehide', (event) => {
  const key = (props.value || {}).key;
  if (key && !event.persisted) navigator.sendBeacon(root + '/goodbye', key);
});

watch('value', begin);
begin();
forEver();
