
// The groups of a network: a picture with a lane for each, from the first tensor to the last.

const COLOURS = 7;
const colourOf = (group) => `s${group % COLOURS}`;
const moduleOf = (name) => name.slice(0, Math.max(0, name.lastIndexOf('.')));
const axesOf = new Map(); // place of a tensor -> [[axis, place of group]]
if (DATA.structure) {
  DATA.structure.groups.forEach((group, n) => group.members.forEach(([tensor, axis]) => {
    if (!axesOf.has(tensor)) axesOf.set(tensor, []);
    axesOf.get(tensor).push([axis, n]);
  }));
}
const groupText = (group, words) => `${group.copies > 1 ? `${group.copies} × ` : ''}${group.size}${words ? ' units' : ''}`;
const unitsText = (group) => group.copies > 1 ? `${group.copies.toLocaleString('en')} times ${group.size.toLocaleString('en')} units` : plural(group.size, 'unit');

// Lanes that do not overlap share a row.
function lanes(structure) {
  const modules = [], place = new Map(), of = [];
  structure.parameters.forEach((parameter, n) => {
    const name = moduleOf(parameter.name);
    if (!place.has(name)) { place.set(name, modules.length); modules.push(name); }
    of[n] = place.get(name);
  });
  const ends = [];
  const spans = structure.groups.map((group, n) => {
    const stops = [...new Set(group.members.map(([tensor]) => of[tensor]))].sort((a, b) => a - b);
    return { n, group, stops, first: stops[0], last: stops[stops.length - 1] };
  }).filter((span) => span.stops.length);
  // The longest first, so that the streams of residual networks lie on top.
  spans.sort((a, b) => (b.last - b.first) - (a.last - a.first) || a.first - b.first);
  const rows = [];
  for (const span of spans) {
    let row = 0;
    while ((rows[row] || []).some((other) => other.first <= span.last && span.first <= other.last)) row++;
    (rows[row] = rows[row] || []).push(span);
    span.row = row;
  }
  return { modules, spans, rows: rows.length, of };
}

function structureSection() {
  const structure = DATA.structure;
  const laid = lanes(structure);
  const step = clamp(960 / laid.modules.length, 18, 44), tall = 26, gap = 7, head = 8;
  const picture = viewport('The groups of the network, each a lane from its first layer to its last', 420);
  const nodes = new Map();
  const width = laid.modules.length * step, bottom = head + laid.rows * (tall + gap);
  const X = (module) => module * step;
  const every = Math.ceil(13 / step);
  picture.inner.append(
    ...laid.modules.map((name, n) => svg('line', { class: 'grid', x1: X(n) + step / 2, x2: X(n) + step / 2, y1: head, y2: bottom + 4 })),
    ...laid.modules.map((name, n) => n % every === 0 && svg('text', { class: 'tick', 'text-anchor': 'end',
      transform: `translate(${X(n) + step / 2 + 4} ${bottom + 12}) rotate(-48)` }, (name || '(network)').length > 30 ? `…${name.slice(-29)}` : name || '(network)')).filter(Boolean));
  for (const span of laid.spans) {
    const y = head + span.row * (tall + gap), x = X(span.first) + 1, w = X(span.last + 1) - X(span.first) - 2;
    const text = [true, false].map((units) => groupText(span.group, units)).find((one) => w > one.length * 6.6 + 10);
    const lane = svg('g', { class: `lane ${colourOf(span.n)}`, onclick: () => choose(span.n) },
      svg('title', null, `${span.group.id}: ${unitsText(span.group)}, ${plural(span.group.members.length, 'place')}`),
      svg('rect', { x, y, width: w, height: tall, rx: 6 }),
      span.stops.map((stop) => svg('circle', { class: 'stop', cx: X(stop) + step / 2, cy: y + tall - 6, r: 2.4 })),
      text && svg('text', { x: x + 6, y: y + 13 }, text));
    nodes.set(span.n, lane);
    picture.inner.append(lane);
  }
  const panel = el('div', { class: 'panel', 'aria-live': 'polite' });
  const search = el('input', { type: 'search', placeholder: 'e.g. conv1 or fc.weight', autocomplete: 'off' });
  const matches = el('p', { class: 'soft', role: 'status' });
  let chosen = null;

  function mark(shownGroups) {
    for (const [n, lane] of nodes) {
      lane.classList.toggle('faint', shownGroups !== null && !shownGroups.has(n));
      lane.classList.toggle('chosen', n === chosen);
    }
  }
  function choose(n, centred = true) {
    chosen = n;
    mark(search.value ? found(search.value) : null);
    const span = laid.spans.find((one) => one.n === n);
    if (span && centred) picture.show({ x: X((span.first + span.last + 1) / 2), y: head + span.row * (tall + gap) + tall / 2 });
    panel.replaceChildren(...groupDetail(n, choose));
  }
  function found(text) {
    const wanted = text.toLowerCase();
    return new Set(structure.groups.flatMap((group, n) => group.id.toLowerCase().includes(wanted)
      || group.members.some(([tensor]) => structure.parameters[tensor].name.toLowerCase().includes(wanted)) ? [n] : []));
  }
  search.addEventListener('input', debounced(() => {
    const hits = search.value ? found(search.value) : null;
    mark(hits);
    matches.textContent = hits ? `${plural(hits.size, 'group')} with “${search.value}”` : '';
    if (hits && hits.size === 1) choose([...hits][0]);
  }));
  search.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter') return;
    const hits = [...found(search.value)];
    if (hits.length) choose(hits[(hits.indexOf(chosen) + 1) % hits.length]);
  });
  picture.set({ x: -70, y: 0, width: width + 80, height: bottom + 120 }, 0.5);
  if (laid.spans.length) choose(laid.spans[0].n, false);
  const families = new Map();
  structure.groups.forEach((group, n) => {
    // A few are all listed; of more, those of repeated blocks are one row.
    const name = structure.groups.length <= 40 ? group.id : `${group.family}|${group.size}|${group.copies}`;
    if (!families.has(name)) families.set(name, []);
    families.get(name).push(n);
  });
  const rows = [...families.values()].map((members) => {
    const group = structure.groups[members[0]];
    return [el('button', { type: 'button', class: 'link mono', onclick: () => choose(members[0]) }, members.length > 1 ? group.family : group.id),
      members.length, group.copies > 1 ? `${group.copies} × ${group.size}` : group.size, group.members.length + group.left_out];
  });
  const proof = structure.proof;
  const part = structure.groups.length < structure.group_count ? ` (${structure.groups.length} are shown)` : '';
  return section('structure', 'Symmetries',
    el('p', { class: 'intro' }, `${plural(structure.group_count, 'group')} of interchangeable units${part}, in all 10`,
      el('sup', null, number(structure.log10_order)), ' permutations that change no output. Each lane is a group; dots mark the layers that hold its units. ',
      proof && proof.verdict === 'proved' ? `Proved operator by operator (${plural(proof.operators, 'operator')}).` : proof ? `Not proved: ${proof.why || proof.verdict}.` : 'Not proved.'),
    structure.group_count === 0 ? el('p', null, 'Nothing in this architecture can be permuted.') : [
      el('div', { class: 'tools' }, el('label', { class: 'grow' }, 'Search for a group or a tensor', search), matches),
      el('div', { class: 'split' }, el('div', { class: 'stack' }, picture.board, folded(`All groups (${structure.groups.length})`, () => table(rows.length < structure.groups.length ? 'Groups; those of repeated blocks are one row, N stands for a number' : 'Groups',
        ['group', 'how many', 'units', 'places'], rows, { numeric: [1, 2, 3] }), structure.groups.length <= 12)), panel)]);
}

function groupDetail(n, choose) {
  const structure = DATA.structure, group = structure.groups[n];
  const over = group.over.map((id) => structure.groups.findIndex((other) => other.id === id));
  const moved = group.moved.map((share, one) => `${percent(share)}${group.moved.length > 1 ? ` (alignment ${one + 1})` : ''}`);
  return [
    el('h3', null, el('code', null, group.id)),
    pairs([['units', unitsText(group)],
      ['in each unit of', over.length ? over.map((place, at) => place < 0 ? group.over[at]
        : el('button', { type: 'button', class: 'link mono', onclick: () => choose(place) }, group.over[at])) : null],
      ['moved', moved.join(', ')],
      ['places', `${group.members.length + group.left_out}`]]),
    table('Tensors that hold these units', ['tensor', 'axis', 'shape'],
      group.members.map(([tensor, axis]) => {
        const parameter = structure.parameters[tensor];
        return [el('span', { class: 'mono' }, parameter.name), axis, parameter.shape.join(' × ')];
      }), { numeric: [1], step: 40 }),
    group.left_out ? el('p', { class: 'soft' }, `${group.left_out} further places are left out of this page.`) : null,
  ].filter(Boolean);
}

function frozenSection() {
  const structure = DATA.structure;
  const search = el('input', { type: 'search', placeholder: 'e.g. fc.weight', autocomplete: 'off' });
  const result = el('div', { 'aria-live': 'polite' });
  function describe(parameter, place) {
    const axes = parameter.shape.map((size, axis) => {
      const groups = (axesOf.get(place) || []).filter(([at]) => at === axis).map(([, n]) => structure.groups[n].id);
      const frozen = parameter.frozen.filter((entry) => entry.axis === axis);
      const reasons = frozen.map((entry) => `${entry.part ? 'in part ' : ''}frozen${entry.inside ? ' inside each unit' : ''}: ${structure.reasons[entry.reason].kind}${entry.detail ? ` (${entry.detail})` : ''}, at ${entry.operator}`);
      const moves = groups.length ? [`moves with ${groups.slice(0, 3).join(', ')}${groups.length > 3 ? ` and ${groups.length - 3} more` : ''}`] : [];
      const words = [...moves, ...reasons];
      return [parameter.name, axis, size, words.length ? words.join('; ') : size === 1 ? 'nothing to permute' : parameter.unused ? 'unused: no output depends on it' : 'left alone'];
    });
    return axes.length ? axes : [[parameter.name, '', '', 'has no axes']];
  }
  function look() {
    const wanted = search.value.trim().toLowerCase();
    const hits = structure.parameters.map((parameter, n) => [parameter, n]).filter(([parameter]) => wanted
      ? parameter.name.toLowerCase().includes(wanted) : parameter.frozen.length);
    result.replaceChildren(table(wanted ? `${plural(hits.length, 'tensor')} with “${search.value.trim()}”, axis by axis` : 'Tensors with a frozen axis',
      ['tensor', 'axis', 'size', 'moves or stays'], hits.slice(0, 500).flatMap(([parameter, n]) => describe(parameter, n)), { numeric: [1, 2], step: 60 }));
  }
  search.addEventListener('input', debounced(look));
  look();
  const unknown = Object.entries(structure.unknown_operators);
  return section('frozen', 'What is frozen, and why',
    el('p', { class: 'intro' }, structure.reasons.length ? 'These positions are told apart by the network itself, or by a limit of zooalign, so that they must not be permuted.'
      : 'No axis is frozen.'),
    structure.reasons.length ? table('Reasons', ['reason', 'what it means', 'axes', 'tensors'], structure.reasons.map((reason) => [
      [reason.kind, reason.limit ? [' ', badge('warning', 'limit')] : null], reason.meaning, reason.axes.toLocaleString('en'), reason.tensors.toLocaleString('en')]), { numeric: [2, 3] }) : null,
    unknown.length ? el('p', null, badge('warning', 'operators without a rule'), ` ${unknown.map(([name, count]) => `${name} (${count})`).join(', ')}: what they touch is frozen.`) : null,
    el('div', { class: 'tools' }, el('label', { class: 'grow' }, 'Why does a tensor move or stay? Search by name', search)), result);
}
