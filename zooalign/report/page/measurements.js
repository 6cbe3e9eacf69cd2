
// Barrier curves, the simplex, trajectories, and what an alignment moved.

const HOWS = { as_is: 'as they are', pairwise: 'pairwise', composed: 'composed', universe: 'one permutation each' };
const STEPS = { as_is: 'as they are', own: 'its own permutation', last: "the last one's", stacked: 'one for all', at_end: "this one's, at the end" };

function quantityName(curve, quantity) {
  const [loss, metric] = curve.measures || [];
  if (quantity === 'loss') return loss || 'loss';
  return curve.accuracy && metric ? `1 − ${metric}` : metric || 'error';
}

function curvesSection() {
  const { curves } = DATA;
  const charts = ['error', 'loss'].filter((quantity) => curves.some((curve) => curve[quantity])).map((quantity) => {
    const series = curves.flatMap((curve, n) => {
      const one = (scores, suffix, dashed) => scores && scores[quantity] ? [{ label: curve.label + suffix, note: `barrier ${number(scores.barrier[quantity].over_line)}`,
        x: curve.alphas, y: scores[quantity], colour: `s${n % COLOURS}`, mark: n, dashed, chord: true }] : [];
      return [...one(curve, curve.test ? ', on its data' : '', false), ...one(curve.test, ', on test data', true)];
    });
    return lineChart({ title: quantity === 'error' ? 'Error' : 'Loss', yLabel: quantityName(curves[0], quantity), xLabel: 'α (0: the first network, 1: the second)',
      series, least: quantity === 'error' ? 0.05 : 0 });
  });
  const rows = curves.map((curve) => [curve.label, `${stem(curve.a)} → ${stem(curve.b)}`,
    ...['loss', 'error'].flatMap((quantity) => curve.barrier[quantity] ? [number(curve.barrier[quantity].over_line), number(curve.barrier[quantity].over_mean)] : ['–', '–']), curve.count.toLocaleString('en')]);
  return section('curves', 'Barriers', el('p', { class: 'intro' }, 'Loss and error on the straight line between two networks. A barrier is the largest excess over the dotted line between the ends. ',
    curves.some((curve) => curve.statistics_reset) ? 'Running statistics are recomputed between the ends.' : ''),
    el('div', { class: 'plots' }, charts),
    table('Barriers over the line and over the mean of the ends', ['curve', 'from → to', 'loss, line', 'loss, mean', 'error, line', 'error, mean', 'predictions'], rows, { numeric: [2, 3, 4, 5, 6] }),
    el('p', { class: 'soft' }, 'Data: ', [...new Set(curves.map((curve) => curve.data))].map((name, n) => [n ? ', ' : '', el('code', null, name)])));
}

// Of several curves over the same places the mean, the least and the greatest.
function gathered(curves, quantity) {
  const at = curves[0].map((_, n) => curves.map((values) => values[n]));
  return { y: at.map((values) => values.reduce((sum, one) => sum + one, 0) / values.length),
    low: at.map((values) => Math.min(...values)), high: at.map((values) => Math.max(...values)) };
}

function connectivitySection() {
  const report = DATA.connectivity;
  const several = report.networks.length > 2;
  const charts = ['error', 'loss'].filter((quantity) => report.pairs[0][quantity]).map((quantity) => lineChart({
    title: quantity === 'error' ? 'Error' : 'Loss', yLabel: `${quantityName(report.pairs[0], quantity)}${several ? ', mean over pairs; the band is from least to greatest' : ''}`,
    xLabel: 'α (0: one network, 1: the other)', least: quantity === 'error' ? 0.05 : 0,
    series: Object.entries(HOWS).map(([how, label], n) => [how, label, n]).filter(([how]) => report.pairs.some((pair) => pair.how === how)).map(([how, label, n]) => {
      const same = report.pairs.filter((pair) => pair.how === how && pair.alphas.length === report.pairs[0].alphas.length);
      const { y, low, high } = gathered(same.map((pair) => pair[quantity]));
      return { label, note: report.summary[how] ? `barrier ${number(report.summary[how][quantity].over_line.mean)}` : '', x: same[0].alphas, y,
        ...(same.length > 1 ? { low, high } : {}), colour: `s${n}`, mark: n };
    }) }));
  const simplex = report.simplex, quantity = simplex.error ? 'error' : 'loss';
  if (simplex.weights[0].length === 3) {
    charts.push(simplexChart({ title: `Averages of models 1, 2 and 3: ${quantity}, barrier ${number(simplex.barrier[quantity].over_line)}`,
      weights: simplex.weights, values: simplex[quantity], names: report.networks.slice(0, 3).map((one) => one.reference), quantity }));
  }
  const of = report.pairs[0].barrier.error ? 'error' : 'loss';
  const grid = [...new Set(report.pairs.map((pair) => `${pair.a}-${pair.b}`))].map((name) => {
    const [a, b] = name.split('-').map(Number);
    return [`${a + 1} – ${b + 1}`, ...Object.keys(HOWS).map((how) => {
      const pair = report.pairs.find((one) => one.a === a && one.b === b && one.how === how);
      return pair ? number(pair.barrier[of].over_line) : '–';
    })];
  });
  return section('connectivity', 'Connectivity',
    el('p', { class: 'intro' }, 'Barriers between every two networks under several permutations. One permutation for each network, under which every two are connected, is the strongest. ',
      report.statistics_reset ? 'Running statistics are recomputed between the networks.' : ''),
    el('div', { class: 'plots' }, charts),
    table(`${capital(of)} barrier over the line, by pair`, ['pair', ...Object.values(HOWS)], grid, { numeric: [1, 2, 3, 4] }),
    table('Networks', ['network', 'number', 'loss', 'accuracy'], report.networks.map((one, n) => [el('code', null, one.reference), n + 1, number(one.loss), number(one.accuracy)]), { numeric: [1, 2, 3] }),
    report.cycles.length ? folded('Permutations composed around three networks', () => table('Share of units that they move: 0 where permutations agree', ['around', 'pairwise', 'one permutation each'],
      report.cycles.map((cycle) => [cycle.networks.map((n) => n + 1).join(' – '), percent(cycle.pairwise_moved), percent(cycle.universe_moved)]), { numeric: [1, 2] })) : null,
    el('p', { class: 'soft' }, 'Data: ', el('code', null, report.data)));
}

function trajectorySection() {
  const report = DATA.connectivity, summary = report.trajectory_summary;
  const names = report.networks[0].checkpoints.map((name) => stem(name).replace(/\.safetensors$/, ''));
  const x = names.map((_, n) => n), xTicks = names.map((name, n) => [n, name.length > 10 ? `…${name.slice(-9)}` : name]);
  const quantities = Object.keys(summary.own[0]);
  return section('trajectories', 'Along the trainings',
    el('p', { class: 'intro' }, 'Barriers over the line at each checkpoint under several permutations, and at the end of training under the permutation of this checkpoint.'),
    el('div', { class: 'plots' }, quantities.map((quantity) => lineChart({ title: `${quantity} barrier`, yLabel: 'over the line, mean over pairs', xLabel: 'checkpoint', xTicks,
      series: Object.entries(STEPS).map(([which, label], n) => [which, label, n]).filter(([which]) => summary[which] && summary[which].length).map(([which, label, n]) => ({
        label, x, y: summary[which].map((step) => step[quantity].over_line.mean), colour: `s${n}`, mark: n, dashed: which === 'at_end' })) }))));
}

function movedSection() {
  const record = DATA.provenance, structure = DATA.structure;
  const bar = (share) => [el('span', { class: 'bar', 'aria-hidden': 'true' }, svg('svg', { viewBox: '0 0 100 8', preserveAspectRatio: 'none' }, svg('rect', { x: 0, y: 0, width: 100 * share, height: 8 }))), ` ${percent(share)}`];
  const each = record.alignments.map((alignment, n) => el('li', null,
    el('h3', null, record.sources[alignment.source] ? stem(record.sources[alignment.source].repo || record.sources[alignment.source].reference) : `source ${alignment.source}`),
    el('p', null, bar(alignment.moved_fraction), ' of its units change place'),
    alignment.diagnosis.verdict ? el('p', null, rich(alignment.diagnosis.verdict)) : null,
    alignment.diagnosis.outcome && alignment.diagnosis.outcome.verdict ? el('p', { class: 'soft' }, rich(alignment.diagnosis.outcome.verdict)) : null,
    pairs([['objective', `${number(alignment.objective_before)} → ${number(alignment.objective_after)}`],
      ['same function', `largest deviation ${number(alignment.max_relative_error)}, rounding explains ${number(alignment.tolerance)}`]])));
  const groups = structure && structure.groups.some((group) => group.moved.length);
  const rows = groups ? structure.groups.map((group) => [el('span', { class: 'mono' }, group.id), unitsText(group), ...group.moved.map((share) => el('span', null, bar(share)))]) : [];
  const recomputed = record.recomputed;
  return section('moved', 'What moved', el('ul', { class: 'sources' }, each),
    groups ? table('Share of units that change place, by group', ['group', 'units', ...record.alignments.map((one, n) => record.alignments.length > 1 ? `alignment ${n + 1}` : 'moved')], rows) : null,
    recomputed.length ? folded(`${plural(recomputed.length, 'tensor')} recomputed: neither a permutation nor an average`, () => table('Recomputed tensors', ['tensor'], recomputed.map((name) => [el('span', { class: 'mono' }, name)]))) : null);
}
