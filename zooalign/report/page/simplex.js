
// The triangle that three networks span, as a heat map.

// Cividis, which is read alike with and without colour blindness, from light (low) to dark (high).
const HEAT = [[253, 234, 69], [205, 185, 91], [165, 148, 105], [124, 123, 120], [87, 93, 109], [46, 66, 104], [0, 32, 77]];
function heat(share) {
  const place = clamp(share, 0, 1) * (HEAT.length - 1), n = Math.min(HEAT.length - 2, Math.floor(place));
  return `rgb(${HEAT[n].map((from, channel) => Math.round(from + (HEAT[n + 1][channel] - from) * (place - n))).join(' ')})`;
}

function simplexChart({ title, weights, values, names, quantity }) {
  const width = 420, height = 372, side = 340, left = 40, top = 34, tall = side * Math.sqrt(3) / 2;
  const at = ([, b, c]) => [left + side * (b + c / 2), top + tall * (1 - c)];
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  const steps = Math.round(1 / Math.min(...weights.flat().filter((weight) => weight > 1e-9)));
  const key = (point) => point.map((weight) => Math.round(weight * steps)).join();
  const value = new Map(weights.map((point, n) => [key(point), values[n]]));
  const cells = svg('g', { 'shape-rendering': 'crispEdges' });
  const fine = 4;
  // Each cell of the grid is cut into smaller ones, with values between those of its corners.
  function cell(corners) {
    const known = corners.map((corner) => value.get(corner.join()));
    if (known.includes(undefined)) return;
    const point = (i, j) => {
      const parts = [i / fine, j / fine, (fine - i - j) / fine];
      const mix = corners[0].map((_, axis) => corners.reduce((sum, corner, n) => sum + corner[axis] * parts[n], 0) / steps);
      return { at: at(mix), value: known.reduce((sum, one, n) => sum + one * parts[n], 0) };
    };
    const paint = (...points) => cells.append(svg('polygon', {
      points: points.map((one) => one.at.map((x) => x.toFixed(1)).join()).join(' '),
      fill: heat((points.reduce((sum, one) => sum + one.value, 0) / 3 - low) / span) }));
    for (let i = 0; i < fine; i++) for (let j = 0; i + j < fine; j++) {
      paint(point(i, j), point(i + 1, j), point(i, j + 1));
      if (i + j < fine - 1) paint(point(i + 1, j), point(i + 1, j + 1), point(i, j + 1));
    }
  }
  for (let a = 0; a < steps; a++) for (let b = 0; a + b < steps; b++) {
    const c = steps - a - b;
    cell([[a, b, c], [a + 1, b, c - 1], [a, b + 1, c - 1]]);
    if (c > 1) cell([[a + 1, b, c - 1], [a + 1, b + 1, c - 2], [a, b + 1, c - 1]]);
  }
  const ring = svg('circle', { r: 7, fill: 'none', stroke: 'var(--ink)', 'stroke-width': 2.5, visibility: 'hidden' });
  const halo = svg('circle', { r: 9.5, fill: 'none', stroke: 'var(--card)', 'stroke-width': 2, visibility: 'hidden' });
  const dots = weights.map((point) => { const [x, y] = at(point); return svg('circle', { cx: x, cy: y, r: 2, fill: '#fff', stroke: '#16202c', 'stroke-width': 0.8 }); });
  const [A, B, C] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map(at);
  const canvas = svg('svg', { viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' }, cells,
    svg('path', { d: `M${A}L${B}L${C}Z`, fill: 'none', stroke: 'var(--ink)', 'stroke-width': 1.2 }), dots, halo, ring,
    svg('text', { x: A[0], y: A[1] + 24, 'text-anchor': 'middle', 'font-size': 14, 'font-weight': 600 }, '1'),
    svg('text', { x: B[0], y: B[1] + 24, 'text-anchor': 'middle', 'font-size': 14, 'font-weight': 600 }, '2'),
    svg('text', { x: C[0], y: C[1] - 12, 'text-anchor': 'middle', 'font-size': 14, 'font-weight': 600 }, '3'));
  let chosen = 0;
  const slider = el('div', { role: 'slider', tabindex: '0', 'aria-label': `${title}: points of the triangle`,
    class: 'chart', 'aria-valuemin': 1, 'aria-valuemax': weights.length }, canvas);
  const readout = el('p', { class: 'readout' });
  function read(visible) {
    const mix = weights[chosen].map((weight, n) => `${percent(weight)} of ${n + 1}`).join(', ');
    const text = `${mix}: ${quantity} ${number(values[chosen])}`;
    slider.setAttribute('aria-valuenow', chosen + 1);
    slider.setAttribute('aria-valuetext', text);
    for (const circle of [ring, halo]) {
      const [x, y] = at(weights[chosen]);
      fill(circle, { cx: x, cy: y, visibility: visible ? 'visible' : 'hidden' }, []);
    }
    readout.textContent = visible ? text : 'Point at the triangle, or focus it and use the arrow keys, to read values.';
  }
  slider.addEventListener('pointermove', (event) => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * width / box.width, y = (event.clientY - box.top) * height / box.height;
    const far = (n) => { const [px, py] = at(weights[n]); return Math.hypot(px - x, py - y); };
    chosen = weights.reduce((best, _, n) => (far(n) < far(best) ? n : best), 0);
    read(true);
  });
  slider.addEventListener('pointerleave', () => { if (document.activeElement !== slider) read(false); });
  slider.addEventListener('focus', () => read(true));
  slider.addEventListener('blur', () => read(false));
  slider.addEventListener('keydown', (event) => {
    const moves = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [x, y] = at(weights[chosen]), [dx, dy] = moves[event.key];
    let best = chosen, cost = Infinity;
    weights.forEach((point, n) => {
      const [px, py] = at(point), ahead = (px - x) * dx + (py - y) * dy;
      const far = Math.hypot(px - x, py - y);
      if (ahead > 1 && far + 2 * (far - ahead) < cost) { best = n; cost = far + 2 * (far - ahead); }
    });
    chosen = best;
    read(true);
  });
  read(false);
  const bar = svg('svg', { viewBox: '0 0 120 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    Array.from({ length: 40 }, (_, n) => svg('rect', { x: n * 3, y: 0, width: 3.2, height: 10, fill: heat(n / 39) })));
  bar.style.width = '7rem';
  return el('figure', { class: 'plot' }, el('figcaption', null, title),
    el('div', { class: 'key' }, el('span', null, number(low), bar, number(high), ` ${quantity}`),
      names.map((name, n) => el('span', null, el('b', null, n + 1), stem(name)))),
    slider, readout,
    folded('As a table', () => table(`${title}: values`, ['share of 1', 'share of 2', 'share of 3', quantity],
      weights.map((point, n) => [...point.map(percent), number(values[n])]), { numeric: [0, 1, 2, 3] })));
}
