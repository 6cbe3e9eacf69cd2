
// A picture that is panned and zoomed, by mouse, touch and keyboard.

function viewport(label, height) {
  const inner = svg('g');
  const canvas = svg('svg', { tabindex: '0', role: 'group', 'aria-roledescription': 'zoomable picture',
    'aria-label': `${label}. Arrow keys pan, plus and minus zoom, 0 fits.`, height }, inner);
  const button = (text, name, action) => el('button', { type: 'button', 'aria-label': name, title: name, onclick: action }, text);
  const board = el('div', { class: 'board' },
    el('div', { class: 'zoom' }, el('span', null, 'Drag to pan, Ctrl and wheel to zoom'),
      button('+', 'Zoom in', () => zoom(1.35)), button('−', 'Zoom out', () => zoom(1 / 1.35)),
      button('Fit', 'Fit the picture', () => fit())), canvas);
  let scale = 1, x = 0, y = 0, size = { x: 0, y: 0, width: 1, height: 1 }, least = 0;
  const pointers = new Map();
  let moved = false;

  const place = () => inner.setAttribute('transform', `translate(${x} ${y}) scale(${scale})`);
  const box = () => ({ width: canvas.clientWidth || 600, height: canvas.clientHeight || height });
  // The picture keeps a corner in sight wherever it is dragged.
  function hold() {
    const view = box(), edge = 60;
    x = clamp(x, edge - (size.x + size.width) * scale, view.width - edge - size.x * scale);
    y = clamp(y, edge - (size.y + size.height) * scale, view.height - edge - size.y * scale);
    place();
  }
  function zoom(factor, at) {
    const view = box();
    const middle = at || { x: view.width / 2, y: view.height / 2 };
    const next = clamp(scale * factor, 0.02, 8);
    x = middle.x - (middle.x - x) * next / scale;
    y = middle.y - (middle.y - y) * next / scale;
    scale = next;
    hold();
  }
  function fit() {
    const pad = 14, across = (box().width - 2 * pad) / size.width;
    // The board is as high as what it shows, within limits.
    canvas.setAttribute('height', clamp(Math.max(Math.min(across, 1.3), least) * size.height + 2 * pad, 160, height));
    const view = box();
    scale = Math.max(Math.min(across, (view.height - 2 * pad) / size.height, 1.3), least);
    const wide = size.width * scale > view.width, tall = size.height * scale > view.height;
    x = (wide ? pad : (view.width - size.width * scale) / 2) - size.x * scale;
    y = (tall ? pad : (view.height - size.height * scale) / 2) - size.y * scale;
    place();
  }
  function show(at) {
    const view = box();
    x = view.width / 2 - at.x * scale;
    y = view.height / 2 - at.y * scale;
    hold();
  }
  canvas.addEventListener('wheel', (event) => {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
    event.preventDefault();
    const at = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), { x: event.clientX - at.left, y: event.clientY - at.top });
  }, { passive: false });
  canvas.addEventListener('pointerdown', (event) => {
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    moved = false;
  });
  canvas.addEventListener('pointermove', (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const dx = event.clientX - last.x, dy = event.clientY - last.y;
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const gap = (at) => Math.hypot(at.x - other.x, at.y - other.y) || 1;
      const at = canvas.getBoundingClientRect();
      zoom(gap({ x: event.clientX, y: event.clientY }) / gap(last), { x: other.x - at.left, y: other.y - at.top });
    } else if (moved || Math.hypot(dx, dy) > 3) {
      if (!moved) canvas.setPointerCapture(event.pointerId);
      moved = true;
      x += dx; y += dy;
      hold();
    } else return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const name of ['pointerup', 'pointercancel', 'pointerleave']) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener('click', (event) => { if (moved) { event.stopPropagation(); moved = false; } }, true);
  canvas.addEventListener('keydown', (event) => {
    if (event.target !== canvas) return;
    const step = 60;
    const actions = {
      ArrowLeft: () => { x += step; hold(); }, ArrowRight: () => { x -= step; hold(); },
      ArrowUp: () => { y += step; hold(); }, ArrowDown: () => { y -= step; hold(); },
      '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8), 0: fit,
    };
    if (actions[event.key] && !event.ctrlKey && !event.metaKey) { event.preventDefault(); actions[event.key](); }
  });
  let known = 0;
  new ResizeObserver(() => { if (canvas.clientWidth !== known) { known = canvas.clientWidth; fit(); } }).observe(canvas);
  return {
    board, inner, canvas, fit, show,
    // `readable` is the least scale that fitting goes down to.
    set(extent, readable = 0) { size = extent; least = readable; fit(); },
  };
}
