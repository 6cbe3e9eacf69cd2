
// What a person should know after ten seconds.

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const OUTCOMES = { different: 'the networks differ', aligned: 'they were aligned already', identical: 'they are the same', no_free_group: 'nothing can move' };
const words = { merge: 'Merge of', align: 'Alignment of' };

function describedOperation() {
  const record = DATA.provenance;
  if (!record) return null;
  const names = record.sources.map((source) => stem(source.repo || source.reference));
  const architecture = `${record.architecture.library}, ${record.architecture.name}`;
  const of = record.operation === 'align' ? `${names.slice(1).join(', ')} to ${names[0]}`
    : names.length > 2 ? `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}` : names.join(' and ');
  return `${words[record.operation] || record.operation} ${of} (${architecture}), units matched by ${record.method}.`;
}

function verdictBox() {
  const { gate } = DATA;
  if (!gate) return null;
  const counts = ['error', 'warning', 'note'].map((severity) => [severity, gate.findings.filter((one) => one.severity === severity).length]).filter(([, count]) => count);
  const told = counts.length ? counts.map(([severity, count]) => plural(count, severity)).join(', ') : 'no findings';
  const warned = gate.ok && counts.some(([severity]) => severity === 'warning');
  const kind = !gate.ok ? 'bad' : warned ? 'warn' : 'good';
  const first = gate.findings.find((one) => one.severity === 'error') || gate.findings.find((one) => one.severity === 'warning');
  const unchecked = gate.skipped.length + gate.unasked.length;
  return el('div', { class: `verdict ${kind}` }, picture(kind), el('div', null,
    el('strong', null, gate.ok ? warned ? 'The gate passes, with warnings' : 'The gate passes' : 'The gate fails'),
    el('p', null, `${plural(gate.checks.length, 'check')} ran: ${told}${unchecked ? `; ${unchecked} did not run` : ''}. `,
      first && [el('b', null, `${first.where}: `), rich(first.message.startsWith(first.where) ? first.message.slice(first.where.length + 1) : first.message), '.'],
      ' ', el('a', { href: '#gate' }, 'Details'))));
}

function fact(name, value, ...more) {
  return el('div', { class: 'fact' }, el('dt', null, name), el('dd', { class: 'value' }, value),
    more.filter(Boolean).map((one) => el('dd', null, one)));
}

function spark(curves) {
  const quantity = curves.every((curve) => curve.error) ? 'error' : 'loss';
  const most = Math.max(...curves.flatMap((curve) => curve[quantity]), 1e-9);
  return svg('svg', { viewBox: '0 0 200 44', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, curves.slice(0, 4).map((curve, n) => svg('g', { class: `s${n}` },
    svg('path', { class: `stroke${n ? ' dashed' : ''}`, 'vector-effect': 'non-scaling-stroke',
      d: curve.alphas.map((alpha, at) => `${at ? 'L' : 'M'}${(alpha * 200).toFixed(1)} ${(41 - 38 * curve[quantity][at] / most).toFixed(1)}`).join('') }))));
}

function curveFact() {
  const { curves } = DATA;
  if (!curves.length) return null;
  const quantity = curves.every((curve) => curve.error) ? 'error' : 'loss';
  const at = (curve) => curve.barrier[quantity].over_line;
  const shown = curves.filter((curve) => curve.align !== 'none'), before = curves.filter((curve) => curve.align === 'none');
  const main = shown[0] || curves[0];
  return fact(`${capital(quantity)} barrier`, number(at(main)), shown.length && before.length
    ? `${main.label}; ${number(at(before[0]))} as they are` : main.label, spark(shown.length ? [...shown, ...before] : curves));
}

function releaseFacts() {
  const record = DATA.provenance;
  if (!record) return [];
  const { score, benefit, alignments } = record;
  const result = [];
  if (score) {
    const [loss, metric] = score.measures;
    result.push(score.accuracy !== null && score.accuracy !== undefined
      ? fact(capital(metric || 'accuracy'), number(score.accuracy), `loss ${number(score.loss)}, ${plural(score.count, 'prediction')}`)
      : fact(capital(loss || 'loss'), number(score.loss), plural(score.count, 'prediction')));
  }
  if (benefit) result.push(fact('Beside its parents', { better: 'better', even: 'even', worse: 'worse', unknown: 'unknown' }[benefit.kind] || benefit.kind, benefit.verdict.split('. ')[0].replace(/\s*\([^)]*\)/g, '').replace(/\.?$/, '.')));
  if (alignments.length) {
    const shares = alignments.map((one) => one.moved_fraction);
    result.push(fact('Units moved', shares.length === 1 ? percent(shares[0]) : `${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}`,
      alignments.length === 1 ? OUTCOMES[alignments[0].diagnosis.kind] : `${alignments.length} alignments`));
  }
  const statistics = { kept: 'kept', reset: 'recomputed', repaired: 'repaired', stale: 'stale', none: 'none' }[record.statistics] || record.statistics;
  result.push(fact('Running statistics', statistics, record.stale_statistics ? 'They do not fit the weights: recompute them before use.' : null));
  return result;
}

function connectivityFacts() {
  const report = DATA.connectivity;
  const quantity = report.summary.as_is.error ? 'error' : 'loss';
  const barrier = (how) => report.summary[how] && report.summary[how][quantity].over_line;
  const result = [fact('Networks', report.networks.length, `${report.method} matching, through ${report.through}`)];
  for (const [how, text] of Object.entries(HOWS)) {
    const spread = barrier(how);
    if (spread) result.push(fact(`${capital(quantity)} barrier, ${text}`, number(spread.mean), spread.count > 1 ? `mean of ${plural(spread.count, 'pair')}, at most ${number(spread.max)}` : null));
  }
  const { merged } = report;
  result.push(merged.accuracy === null ? fact('Average of all', number(merged.loss), 'loss')
    : fact('Average of all', number(merged.accuracy), `accuracy; each alone ${report.networks.slice(0, 4).map((one) => number(one.accuracy)).join(', ')}${report.networks.length > 4 ? ', …' : ''}`));
  return result;
}

function structureFact() {
  const { structure } = DATA;
  if (!structure) return null;
  const verdict = structure.proof ? structure.proof.verdict : 'not proved';
  return fact('Symmetries', plural(structure.group_count, 'group'), [`10`, el('sup', null, number(structure.log10_order)), ` permutations, ${verdict}`]);
}

function overview() {
  const facts = [...(DATA.connectivity ? connectivityFacts() : []), ...releaseFacts(), curveFact(), structureFact()].filter(Boolean);
  const warnings = (DATA.provenance && DATA.provenance.warnings) || (DATA.connectivity && DATA.connectivity.warnings) || [];
  return section('overview', 'At a glance', verdictBox(), el('dl', { class: 'facts' }, facts),
    warnings.length ? folded(`${plural(warnings.length, 'warning')} when it was made`, () => el('ul', null, warnings.map((text) => el('li', null, rich(text)))), warnings.length < 3) : null,
    DATA.problems.length || DATA.left_out.length ? folded('Not on this page', () => el('ul', null,
      DATA.problems.map((text) => el('li', null, rich(text))), DATA.left_out.map((text) => el('li', null, `left out as the page would become too large: ${text}`))), true) : null);
}
