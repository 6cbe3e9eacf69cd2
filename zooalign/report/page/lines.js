
// Line charts: loss, error and accuracy over α or over a training, with a pointer that reads values.

const MARKS = [
  (x, y, r) => `M${x - r} ${y} a${r} ${r} 0 1 0 ${2 * r} 0 a${r} ${r} 0 1 0 ${-2 * r} 0 Z`,
  (x, y, r) => `M${x - r} ${y - r} h${2 * r} v${2 * r} h${-2 * r} Z`,
  (x, y, r) => `M${x} ${y - 1.2 * r} L${x + 1.2 * r} ${y + r} L${x - 1.2 * r} ${y + r} Z`,
  (x, y, r) => `M${x} ${y - 1.4 * r} L${x + 1.4 * r} ${y} L${x} ${y + 1.4 * r} L${x - 1.4 * r} ${y} Z`,
  (x, y, r) => `M${x} ${y + 1.2 * r} L${x + 1.2 * r} ${y - r} L${x - 1.2 * r} ${y - r} Z`,
  (x, y, r) => `M${x - r} ${y - r / 3} h${r * 2 / 3} v${-r * 2 / 3} h${r * 2 / 3} v${r * 2 / 3} h${r * 2 / 3} v${r * 2 / 3} h${-r * 2 / 3} v${r * 2 / 3} h${-r * 2 / 3} v${-r * 2 / 3} h${-r * 2 / 3} Z`,
];

function ticks(low, high, wanted = 5) {
  const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const result = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) result.push(n * step);
  return { at: result, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (String(step / power).includes('.') ? 1 : 0)) };
}

function lineMark(series, width = 30) {
  return svg('svg', { viewBox: `0 0 ${width} 14`, 'aria-hidden': 'true', class: series.colour },
    svg('path', { class: `stroke${series.dashed ? ' dashed' : ''}`, d: `M1 7 H${width - 1}` }),
    svg('path', { class: `mark${series.dashed ? ' open' : ''}`, d: MARKS[series.mark % MARKS.length](width / 2, 7, 4) }));
}

// series: { label, note, x, y, low, high, colour, mark, dashed, chord }; x rises.
function lineChart({ title, xLabel, yLabel, series, xTicks, zero = true, least = 0 }) {
  const hiddenSeries = new Set();
  const canvas = svg('svg', { 'aria-hidden': 'true' });
  const positions = [...new Set(series.flatMap((one) => one.x))].sort((a, b) => a - b);
  let at = positions.findIndex((value) => value >= (positions[0] + positions[positions.length - 1]) / 2);
  const slider = el('div', { role: 'slider', tabindex: '0', 'aria-label': `${title}: ${xLabel}`,
    class: 'chart', 'aria-valuemin': positions[0], 'aria-valuemax': positions[positions.length - 1] }, canvas);
  const readout = el('p', { class: 'readout' });
  let scales = null, cross = null;

  const shown = () => series.filter((one) => !hiddenSeries.has(one));
  function draw() {
    const width = Math.max(260, slider.clientWidth || 520), height = clamp(width * 0.58, 220, 340);
    const frame = { left: 54, right: 14, top: 12, bottom: 42 };
    const visible = shown().length ? shown() : series;
    const values = visible.flatMap((one) => [...one.y, ...(one.low || []), ...(one.high || [])]);
    let low = Math.min(...values), high = Math.max(...values);
    if (zero && low > 0) low = 0;
    if (high - low < least) high = low + least;
    if (high === low) high = low + 1;
    const room = (high - low) * 0.06;
    high += room;
    if (low < 0 || !zero) low -= room;
    const first = positions[0], last = positions[positions.length - 1];
    const X = (value) => frame.left + 6 + (value - first) / (last - first || 1) * (width - frame.left - frame.right - 12);
    const Y = (value) => height - frame.bottom - (value - low) / (high - low) * (height - frame.top - frame.bottom);
    scales = { X, Y, width, height, frame };
    canvas.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const yTicks = ticks(low, high), xPlaces = xTicks || ticks(first, last).at.map((value) => [value, String(+value.toFixed(6))]);
    const fitting = xPlaces.filter((_, n) => n % Math.ceil(xPlaces.length * 46 / (width - 70)) === 0);
    canvas.replaceChildren();
    for (const value of yTicks.at) {
      canvas.append(
        svg('line', { class: value === 0 ? 'base' : 'grid', x1: frame.left, x2: width - frame.right, y1: Y(value), y2: Y(value) }),
        svg('text', { class: 'axis', x: frame.left - 8, y: Y(value) + 4, 'text-anchor': 'end' }, value.toFixed(yTicks.digits).replace('-', '−')));
    }
    for (const [value, text] of fitting) {
      canvas.append(svg('text', { class: 'axis', x: X(value), y: height - frame.bottom + 18, 'text-anchor': 'middle' }, text));
    }
    canvas.append(svg('text', { class: 'axis', x: (frame.left + width - frame.right) / 2, y: height - 6, 'text-anchor': 'middle' }, xLabel));
    for (const one of visible) {
      const group = svg('g', { class: one.colour });
      const line = (ys) => one.x.map((x, n) => `${n ? 'L' : 'M'}${X(x).toFixed(1)} ${Y(ys[n]).toFixed(1)}`).join('');
      if (one.high) {
        const back = one.x.map((x, n) => `L${X(x).toFixed(1)} ${Y(one.low[n]).toFixed(1)}`).reverse().join('');
        group.append(svg('path', { class: 'band', d: `${line(one.high)}${back}Z` }));
      }
      if (one.chord) {
        const end = one.x.length - 1;
        group.append(svg('path', { class: 'chord', d: `M${X(one.x[0])} ${Y(one.y[0])}L${X(one.x[end])} ${Y(one.y[end])}` }));
      }
      group.append(svg('path', { class: `stroke${one.dashed ? ' dashed' : ''}`, d: line(one.y) }));
      const every = Math.max(1, Math.round(one.x.length / 9));
      one.x.forEach((x, n) => {
        if (n % every === 0 || n === one.x.length - 1) {
          group.append(svg('path', { class: `mark${one.dashed ? ' open' : ''}`, d: MARKS[one.mark % MARKS.length](X(x), Y(one.y[n]), 3.6) }));
        }
      });
      canvas.append(group);
    }
    cross = svg('g', { visibility: 'hidden' });
    canvas.append(cross);
  }
  function read(visible) {
    const value = positions[at];
    const name = xTicks ? (xTicks.find(([place]) => place === value) || [0, value])[1] : number(value);
    const values = shown().map((one) => [one, one.y[one.x.indexOf(value)]]).filter(([, y]) => y !== undefined);
    const text = `${values.map(([one, y]) => `${one.label} ${number(y)}`).join(', ')}`;
    slider.setAttribute('aria-valuenow', value);
    slider.setAttribute('aria-valuetext', `${name}: ${text}`);
    if (!visible) {
      readout.textContent = 'Point at the chart, or focus it and use the arrow keys, to read values.';
      cross.setAttribute('visibility', 'hidden');
      return;
    }
    readout.replaceChildren(el('b', null, `${xTicks ? '' : 'at '}${name}: `), text);
    cross.replaceChildren(svg('line', { class: 'cross', x1: scales.X(value), x2: scales.X(value), y1: scales.frame.top, y2: scales.height - scales.frame.bottom }));
    for (const [one, y] of values) {
      cross.append(svg('g', { class: one.colour }, svg('path', { class: 'mark', d: MARKS[one.mark % MARKS.length](scales.X(value), scales.Y(y), 5.5) })));
    }
    cross.setAttribute('visibility', 'visible');
  }
  slider.addEventListener('pointermove', (event) => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) * scales.width / box.width;
    at = positions.reduce((best, value, n) => (Math.abs(scales.X(value) - x) < Math.abs(scales.X(positions[best]) - x) ? n : best), 0);
    read(true);
  });
  slider.addEventListener('pointerleave', () => { if (document.activeElement !== slider) read(false); });
  slider.addEventListener('focus', () => read(true));
  slider.addEventListener('blur', () => read(false));
  slider.addEventListener('keydown', (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -1e9, End: 1e9, PageUp: 5, PageDown: -5 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    at = clamp(at + steps[event.key], 0, positions.length - 1);
    read(true);
  });
  const legend = series.length > 1 && el('div', { class: 'legend', role: 'group', 'aria-label': `Lines of ${title}` },
    series.map((one) => el('button', { type: 'button', 'aria-pressed': 'true', title: 'Show or hide', onclick: (event) => {
      const hide = !hiddenSeries.delete(one);
      if (hide) hiddenSeries.add(one);
      event.currentTarget.setAttribute('aria-pressed', String(!hide));
      draw(); read(false);
    } }, lineMark(one), one.note ? `${one.label}: ${one.note}` : one.label)));
  let width = -1;
  new ResizeObserver(() => {
    if (slider.clientWidth !== width) { width = slider.clientWidth; draw(); read(document.activeElement === slider); }
  }).observe(slider);
  draw();
  read(false);
  const rows = () => table(`${title}: values`, [xLabel, ...series.map((one) => one.label)],
    positions.map((value, n) => [xTicks ? xTicks[n][1] : number(value), ...series.map((one) => number(one.y[one.x.indexOf(value)]))]),
    { numeric: series.map((_, n) => n + 1) });
  return el('figure', { class: 'plot' }, el('figcaption', null, title, yLabel && el('span', { class: 'soft' }, ` · ${yLabel}`)),
    legend, slider, readout, folded('As a table', rows));
}
