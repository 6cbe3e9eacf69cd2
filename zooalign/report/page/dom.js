
// Elements and numbers. Texts from checkpoints become text nodes: never markup.

const DATA = JSON.parse(document.getElementById('data').textContent);
const SVG = 'http://www.w3.org/2000/svg';
let counter = 0;
const nextId = (stem) => `${stem}-${++counter}`;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const plural = (count, word, many) => `${count.toLocaleString('en')} ${count === 1 ? word : many || word + 's'}`;
function number(value) {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 0.001 || size >= 1e7) return value.toExponential(1).replace('-', '−');
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 0.1 ? 3 : 4;
  return value.toFixed(digits).replace('-', '−');
}
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : share > 0.9 && share < 1 ? 1 : 0)} %`;
// Text of ours in which backticks mark code.
const rich = (text) => text.split('`').map((part, n) => (n % 2 ? el('code', null, part) : part));
const short = (hash) => hash.slice(0, 12);
const stem = (reference) => {
  const name = reference.replace(/\/+$/, '');
  const last = /^[./]/.test(name) ? name.slice(name.lastIndexOf('/') + 1) : name;
  return last.length > 40 ? `…${last.slice(-39)}` : last || reference;
};

function section(id, title, ...children) {
  return el('section', { class: 'card', id, 'aria-labelledby': `${id}-title` },
    el('h2', { id: `${id}-title` }, title), children);
}

function badge(kind, text) {
  const signs = { error: '✕', warning: '!', note: 'i', passed: '✓' };
  return el('span', { class: `badge ${kind}` },
    signs[kind] && el('span', { 'aria-hidden': 'true' }, signs[kind]), text);
}

// Rows are arrays of texts, numbers or nodes; `numeric` are the places of columns of numbers.
function table(caption, header, rows, { numeric = [], step = 100 } = {}) {
  const body = el('tbody');
  const kind = (place) => (numeric.includes(place) ? 'number' : place === 0 ? 'name' : null);
  let shown = 0;
  const more = el('button', { type: 'button', onclick: () => show() });
  function show() {
    for (const row of rows.slice(shown, shown + step)) {
      body.append(el('tr', null, row.map((cell, place) => el('td', { class: kind(place) }, cell))));
    }
    shown = Math.min(rows.length, shown + step);
    more.hidden = shown === rows.length;
    more.textContent = `Show more (${(rows.length - shown).toLocaleString('en')} left)`;
  }
  show();
  const heads = header.map((text, place) => el('th', { scope: 'col', class: kind(place) }, text));
  return el('div', null,
    el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
      el('table', null, el('caption', null, caption), el('thead', null, el('tr', null, heads)), body)),
    more);
}

function folded(title, build, open) {
  let built = false;
  const box = el('details', { open, ontoggle: () => unfold() }, el('summary', null, title));
  function unfold() {
    if (box.open && !built) { built = true; box.append(build()); }
  }
  unfold();
  return box;
}

function copied(text, label) {
  const button = el('button', { type: 'button', 'aria-label': `Copy ${label}` }, 'Copy');
  button.addEventListener('click', async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = 'Copied'; }
    catch {
      const range = document.createRange();
      range.selectNodeContents(button.previousElementSibling);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = 'Selected';
    }
  });
  return el('div', { class: 'command' }, el('code', null, text), button);
}

const pairs = (entries) => el('dl', { class: 'pairs' }, entries.filter((entry) => entry && entry[1] !== null
  && entry[1] !== undefined && entry[1] !== '').map(([name, value]) => [el('dt', null, name), el('dd', null, value)]));

function picture(kind) {
  const path = { good: 'M12 25 l8 8 l16 -18', bad: 'M15 15 l18 18 M33 15 l-18 18', warn: 'M24 12 v16 M24 34 v2' }[kind];
  return svg('svg', { viewBox: '0 0 48 48', 'aria-hidden': 'true' },
    svg('circle', { cx: 24, cy: 24, r: 21, fill: 'none', stroke: 'currentColor', 'stroke-width': 3 }),
    svg('path', { d: path, fill: 'none', stroke: 'currentColor', 'stroke-width': 4.5, 'stroke-linecap': 'round' }));
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const debounced = (action, pause = 120) => {
  let timer;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => action(...values), pause); };
};
