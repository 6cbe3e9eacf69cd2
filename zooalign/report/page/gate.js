
// The release gate: findings first, then what was checked.

function gateSection() {
  const { gate } = DATA, title = new Map(DATA.checks.map((check) => [check.id, check.title]));
  const order = ['error', 'warning', 'note'];
  const findings = [...gate.findings].sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity));
  const faulty = new Set(findings.map((one) => one.id));
  const item = (one) => el('li', null,
    el('div', { class: 'head' }, badge(one.severity, one.severity), el('code', null, one.id)),
    el('div', null, one.message.startsWith(one.where) ? null : el('b', null, `${one.where}: `), rich(one.message)),
    one.fix ? el('div', { class: 'soft' }, 'To correct it: ', rich(one.fix)) : null);
  const most = 50;
  const rest = findings.slice(most);
  const states = [
    ...gate.checks.map((id) => [id, faulty.has(id) ? badge(findings.find((one) => one.id === id).severity, 'finding') : badge('passed', 'passed')]),
    ...gate.skipped.map((id) => [id, badge('plain', 'nothing to look at')]),
    ...gate.unasked.map((id) => [id, badge('plain', 'not asked for')]),
    ...gate.disabled.map((id) => [id, badge('plain', 'turned off')]),
  ];
  return section('gate', 'Gate',
    el('p', { class: 'intro' }, `The release ${gate.ok ? 'passes' : 'fails'}: findings of the severity “${gate.fail_on}” fail it`,
      gate.policy ? [', by the policy of ', el('code', null, gate.policy)] : null, '. ',
      gate.commit ? ['Commit ', el('code', null, short(gate.commit)), '.'] : null),
    findings.length ? el('ul', { class: 'findings' }, findings.slice(0, most).map(item)) : el('p', null, badge('passed', 'no findings')),
    rest.length ? folded(`${plural(rest.length, 'further finding')}`, () => el('ul', { class: 'findings' }, rest.slice(0, 1000).map(item))) : null,
    folded(`All ${states.length} checks: ${gate.checks.length} ran`, () => table('Checks of the gate', ['check', 'what holds if it passes', 'state'],
      states.map(([id, state]) => [el('code', null, id), title.get(id) || '', state]))));
}
