
// The dependency graph around a layer: operators from top to bottom, the tensors that they read,
// and the groups whose units flow along each edge.

const MOST_DRAWN = 160;
const BOX = 196;

// Ranks by the longest way, then orders within ranks by the mean place of neighbours.
function arranged(places, edges, heightOf) {
  const rank = new Map(), into = new Map(), out = new Map();
  for (const [from, to] of edges) {
    (into.get(to) || into.set(to, []).get(to)).push(from);
    (out.get(from) || out.set(from, []).get(from)).push(to);
  }
  const state = new Map();
  for (const start of places) { // depth first without recursion
    const stack = [start];
    while (stack.length) {
      const place = stack[stack.length - 1];
      if (state.get(place) === 2) { stack.pop(); continue; }
      const before = into.get(place) || [];
      if (!state.get(place)) { state.set(place, 1); stack.push(...before.filter((one) => !state.get(one))); continue; }
      rank.set(place, Math.max(-1, ...before.map((one) => rank.get(one) ?? -1)) + 1);
      state.set(place, 2);
      stack.pop();
    }
  }
  // Inputs stand just above what reads them.
  for (const place of places) {
    if (!(into.get(place) || []).length && out.get(place)) rank.set(place, Math.max(0, Math.min(...out.get(place).map((one) => rank.get(one))) - 1));
  }
  const rows = [], item = new Map();
  const add = (node) => { (rows[node.rank] = rows[node.rank] || []).push(node); return node; };
  for (const place of places) item.set(place, add({ place, rank: rank.get(place), up: [], down: [], width: BOX, height: heightOf(place) }));
  const ways = edges.map(([from, to]) => {
    const way = [item.get(from)];
    for (let level = rank.get(from) + 1; level < rank.get(to); level++) way.push(add({ rank: level, up: [], down: [], width: 26, height: 0 }));
    way.push(item.get(to));
    for (let n = 1; n < way.length; n++) { way[n - 1].down.push(way[n]); way[n].up.push(way[n - 1]); }
    return way;
  });
  const filled = rows.filter(Boolean);
  const number_ = (row) => row.forEach((node, n) => { node.order = n; });
  filled.forEach(number_);
  const mean = (nodes, value, fallback) => (nodes.length ? nodes.reduce((sum, one) => sum + value(one), 0) / nodes.length : fallback);
  for (let sweep = 0; sweep < 8; sweep++) {
    for (const row of sweep % 2 ? [...filled].reverse() : filled) {
      row.forEach((node) => { node.key = mean(sweep % 2 ? node.down : node.up, (one) => one.order, node.order); });
      row.sort((a, b) => a.key - b.key);
      number_(row);
    }
  }
  const gap = 26;
  for (const row of filled) { let x = 0; for (const node of row) { node.x = x + node.width / 2; x += node.width + gap; } }
  for (let sweep = 0; sweep < 12; sweep++) {
    for (const row of sweep % 2 ? [...filled].reverse() : filled) {
      row.forEach((node) => { node.wish = mean([...node.up, ...node.down], (one) => one.x, node.x); });
      row.forEach((node, n) => {
        const before = row[n - 1];
        node.x = before ? Math.max(node.wish, before.x + (before.width + node.width) / 2 + gap) : node.wish;
      });
      const drift = mean(row, (node) => node.x - node.wish, 0);
      row.forEach((node) => { node.x -= drift; });
    }
  }
  let y = 0;
  for (const row of filled) {
    const tall = Math.max(...row.map((node) => node.height), 10);
    row.forEach((node) => { node.y = y + tall / 2; });
    y += tall + 46;
  }
  return { item, ways, nodes: filled.flat(), height: y - 46 };
}

function layersSection() {
  const { nodes, node_count: count } = DATA.graph, structure = DATA.structure;
  const readers = nodes.map(() => []);
  nodes.forEach((node, n) => node.inputs.forEach((one) => readers[one] && readers[one].push(n)));
  const paths = new Set();
  for (const node of nodes) {
    const parts = node.layer.split('.');
    parts.forEach((_, n) => paths.add(parts.slice(0, n + 1).join('.')));
  }
  paths.delete('');
  const layers = [...paths];
  const options = nextId('layers');
  const input = el('input', { type: 'search', list: options, autocomplete: 'off', spellcheck: 'false' });
  const around = el('select', null, [0, 1, 2, 3].map((n) => el('option', { value: n, selected: n === 1 }, n === 0 ? 'the layer alone' : `${plural(n, 'step')} around it`)));
  const find = el('input', { type: 'search', placeholder: 'e.g. conv2d or weight', autocomplete: 'off' });
  const status = el('p', { class: 'soft', role: 'status' });
  const picture = viewport('Dependency graph of the layer', 560);
  const panel = el('div', { class: 'panel', 'aria-live': 'polite' });
  const list = el('div');
  const drawn = new Map();
  // A block of some operators, in which ways meet, says more than a single one.
  const within = (name) => nodes.filter((node) => node.layer === name || node.layer.startsWith(`${name}.`));
  const telling = (name) => { const inside = within(name); return inside.length > 3 && inside.length < 25 && inside.some((node) => node.parameters.length); };
  const branching = (name) => telling(name) && within(name).some((node) => node.inputs.length > 1);
  const first = layers.slice(0, 400);
  let layer = first.find(branching) || first.find(telling) || layers[0] || '';
  let chosen = null;

  function chosenNodes() {
    const inside = nodes.map((node, n) => n).filter((n) => layer === '' || nodes[n].layer === layer || nodes[n].layer.startsWith(`${layer}.`));
    const reached = new Set(inside);
    let edge = inside;
    for (let n = 0; n < Number(around.value); n++) {
      edge = edge.flatMap((one) => [...nodes[one].inputs, ...readers[one]]).filter((one) => !reached.has(one));
      edge.forEach((one) => reached.add(one));
    }
    return { inside: new Set(inside), all: [...reached].sort((a, b) => a - b) };
  }
  const tail = (name) => structure.parameters[name].name.slice(moduleOf(structure.parameters[name].name).length).replace(/^\./, '');
  const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  function box(place, at, outside) {
    const node = nodes[place], top = at.y - at.height / 2, left = at.x - BOX / 2;
    const shape = cut(node.shape, 16), where = node.layer || node.label, room = 29 - shape.length;
    const group = svg('g', { class: `node${outside ? ' outside' : ''}${node.kind !== 'operator' ? ' end' : ''}${node.fixes.length ? ' fixes' : ''}`,
      onclick: () => choose(place) },
      svg('title', null, `${node.label}${node.layer ? ` in ${node.layer}` : ''}`),
      svg('rect', { class: 'frame', x: left, y: top, width: BOX, height: at.height, rx: 8 }),
      svg('text', { x: left + 11, y: top + 19, 'font-weight': 600 }, cut(node.kind === 'operator' ? node.name : node.kind === 'input' ? `input ${node.label}` : 'output', 24)),
      svg('text', { class: 'sub', x: left + BOX - 10, y: top + 35, 'text-anchor': 'end' }, shape),
      svg('text', { class: 'sub', x: left + 11, y: top + 35 }, where.length > room ? `…${where.slice(1 - room)}` : where));
    node.parameters.slice(0, 6).forEach((one, n) => {
      const y = top + 53 + 17 * n, parameter = structure.parameters[one];
      parameter.shape.slice(0, 5).forEach((size, axis) => {
        const [, carrier] = (axesOf.get(one) || []).find(([where]) => where === axis) || [];
        group.append(svg('g', { class: carrier === undefined ? 'sf' : colourOf(carrier) },
          svg('rect', { class: 'axisbox', x: left + BOX - 17 - 12 * (Math.min(5, parameter.shape.length) - 1 - axis), y: y - 8.5, width: 9, height: 9, rx: carrier === undefined ? 0 : 4.5 })));
      });
      group.append(svg('text', { class: 'sub', x: left + 11, y }, `▪ ${cut(tail(one), 18)}`));
    });
    return group;
  }
  function draw() {
    const { inside, all } = chosenNodes();
    const places = all.slice(0, MOST_DRAWN), kept = new Set(places);
    const edges = places.flatMap((n) => nodes[n].inputs.filter((one) => kept.has(one) && one !== n).map((one) => [one, n]));
    const { item, ways, nodes: laid, height } = arranged(places, edges, (n) => 46 + 17 * Math.min(6, nodes[n].parameters.length) + (nodes[n].parameters.length ? 4 : 0));
    picture.inner.replaceChildren();
    drawn.clear();
    ways.forEach((way) => {
      const from = way[0], to = way[way.length - 1], carried = nodes[from.place].groups;
      let d = `M${from.x} ${from.y + from.height / 2}`, last = { x: from.x, y: from.y + from.height / 2 };
      way.slice(1).forEach((stop, n) => {
        const end = { x: stop.x, y: stop === to ? stop.y - stop.height / 2 - 6 : stop.y };
        const bend = (last.y + end.y) / 2;
        d += `C${last.x} ${bend} ${end.x} ${bend} ${end.x} ${end.y}`;
        last = end;
      });
      picture.inner.append(svg('g', { class: carried.length ? colourOf(carried[0]) : '' },
        svg('path', { class: `edge${carried.length ? '' : ' plain'}`, d },
          svg('title', null, carried.length ? `carries ${carried.map((n) => structure.groups[n].id).join(', ')}` : 'carries no units that move')),
        svg('path', { class: 'arrow', d: `M${last.x - 4.5} ${last.y - 3}L${last.x + 4.5} ${last.y - 3}L${last.x} ${last.y + 5}Z` })));
    });
    for (const place of places) {
      const shape = box(place, item.get(place), !inside.has(place));
      drawn.set(place, { shape, at: item.get(place) });
      picture.inner.append(shape);
    }
    const xs = laid.flatMap((node) => [node.x - node.width / 2, node.x + node.width / 2]);
    if (xs.length) picture.set({ x: Math.min(...xs), y: 0, width: Math.max(...xs) - Math.min(...xs), height: Math.max(height, 40) }, 0.62);
    const more = all.length > places.length ? `; ${all.length - places.length} more are not drawn: choose a smaller layer` : '';
    status.textContent = `${plural(inside.size, 'operator')} in ${layer || 'the network'}, ${all.length - inside.size} around${more}`;
    list.replaceChildren(folded('As a list', () => table('Operators that are drawn', ['operator', 'layer', 'result', 'tensors it reads', 'groups it carries'],
      places.map((n) => [el('button', { type: 'button', class: 'link mono', onclick: () => choose(n) }, nodes[n].label), nodes[n].layer, nodes[n].shape,
        nodes[n].parameters.map((one) => structure.parameters[one].name).join(', '), nodes[n].groups.map((one) => structure.groups[one].id).join(', ')]))));
    const first = [...inside].find((place) => nodes[place].parameters.length) ?? [...inside][0];
    if (first !== undefined) choose(first, false);
    mark();
  }
  function mark() {
    const wanted = find.value.trim().toLowerCase();
    let hits = 0, first = null;
    for (const [place, { shape, at }] of drawn) {
      const node = nodes[place];
      const texts = [node.label, node.name, node.layer, ...node.parameters.map((one) => structure.parameters[one].name), ...node.groups.map((one) => structure.groups[one].id)];
      const hit = !wanted || texts.some((text) => text.toLowerCase().includes(wanted));
      if (hit && wanted) { hits++; first = first || at; }
      shape.classList.toggle('faint', !hit);
      shape.classList.toggle('chosen', place === chosen);
    }
    if (wanted) status.textContent = `${plural(hits, 'operator')} with “${find.value.trim()}” in the picture`;
    if (first) picture.show(first);
  }
  function choose(place, centred = true) {
    chosen = place;
    const node = nodes[place];
    for (const [n, { shape }] of drawn) shape.classList.toggle('chosen', n === place);
    if (centred && drawn.has(place)) picture.show(drawn.get(place).at);
    const step = (n) => el('li', null, el('button', { type: 'button', class: 'link mono', onclick: () => (drawn.has(n) ? choose(n) : go(nodes[n].layer, n)) }, nodes[n].label));
    const parameters = node.parameters.map((one) => {
      const parameter = structure.parameters[one];
      const axes = parameter.shape.map((size, axis) => {
        const groups = (axesOf.get(one) || []).filter(([at]) => at === axis).map(([, n]) => structure.groups[n].id);
        const frozen = parameter.frozen.filter((entry) => entry.axis === axis).map((entry) => structure.reasons[entry.reason].kind);
        return el('li', null, `axis ${axis} (${size}): `, groups.length ? el('code', null, groups.slice(0, 3).join(', ')) : frozen.length ? `frozen, ${[...new Set(frozen)].join(', ')}` : 'nothing to permute');
      });
      return [el('h3', { class: 'mono' }, parameter.name), el('ul', null, axes)];
    });
    panel.replaceChildren(...[
      el('h3', null, el('code', null, node.label)),
      pairs([['operator', node.name], ['layer', node.layer], ['result', node.shape],
        ['carries', node.groups.length ? node.groups.map((n) => structure.groups[n].id).join(', ') : 'no units that move'],
        ['tells apart', node.fixes.join('; ')]]),
      ...parameters.flat(),
      node.inputs.length ? el('h3', null, 'reads') : null, node.inputs.length ? el('ul', null, node.inputs.map(step)) : null,
      readers[place].length ? el('h3', null, 'read by') : null, readers[place].length ? el('ul', null, readers[place].slice(0, 20).map(step)) : null,
    ].filter(Boolean));
  }
  function go(name, place) {
    layer = name;
    input.value = name;
    draw();
    if (place !== undefined) choose(place);
  }
  const turn = (by) => go(layers[(layers.indexOf(layer) + by + layers.length) % layers.length] || '');
  input.addEventListener('change', () => {
    const wanted = input.value.trim().toLowerCase();
    const hit = layers.find((name) => name.toLowerCase() === wanted) || layers.find((name) => name.toLowerCase().includes(wanted));
    if (hit !== undefined) go(hit);
    else status.textContent = `no layer with “${input.value}”`;
  });
  around.addEventListener('change', draw);
  find.addEventListener('input', debounced(mark));
  input.value = layer;
  draw();
  const swatch = (style, text) => el('span', null, svg('svg', { viewBox: '0 0 32 18', 'aria-hidden': 'true' }, style), text);
  return section('layers', 'Dependency graph of a layer',
    el('p', { class: 'intro' }, `${plural(count, 'operator')} make the network. Choose a layer: the picture shows its operators, what they read, and which units flow along the edges (one colour a group).`),
    el('div', { class: 'tools' },
      el('label', { class: 'grow' }, 'Layer', input), el('datalist', { id: options }, layers.map((name) => el('option', { value: name }))),
      el('button', { type: 'button', onclick: () => turn(-1) }, '← Previous'), el('button', { type: 'button', onclick: () => turn(1) }, 'Next →'),
      el('label', null, 'Show', around), el('label', { class: 'grow' }, 'Search in the picture', find)),
    status,
    el('div', { class: 'split' }, picture.board, panel),
    el('div', { class: 'key' },
      swatch(svg('g', { class: 'node' }, svg('rect', { class: 'frame', x: 2, y: 2, width: 28, height: 14, rx: 4 })), 'in the layer'),
      swatch(svg('g', { class: 'node outside' }, svg('rect', { class: 'frame', x: 2, y: 2, width: 28, height: 14, rx: 4 })), 'around it'),
      swatch(svg('g', { class: 'node fixes' }, svg('rect', { class: 'frame', x: 2, y: 2, width: 28, height: 14, rx: 4 })), 'tells positions apart'),
      swatch(svg('g', { class: 's0' }, svg('path', { class: 'edge', d: 'M1 9H31' })), 'carries units of a group'),
      swatch(svg('path', { class: 'edge plain', d: 'M1 9H31' }), 'carries none'),
      swatch(svg('g', { class: 's0' }, svg('rect', { class: 'axisbox', x: 11, y: 4, width: 10, height: 10, rx: 5 })), 'an axis that moves'),
      swatch(svg('g', { class: 'sf' }, svg('rect', { class: 'axisbox', x: 11, y: 4, width: 10, height: 10 })), 'an axis that does not')),
    list);
}
