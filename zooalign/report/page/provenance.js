
// How the release was made.

function provenanceSection() {
  const record = DATA.provenance;
  const bytes = (size) => (size >= 1e9 ? `${(size / 1e9).toFixed(2)} GB` : size >= 1e6 ? `${(size / 1e6).toFixed(1)} MB` : `${Math.ceil(size / 1e3)} kB`);
  const source = (one, n) => el('li', null,
    el('h3', null, `${one.role[0].toUpperCase()}${one.role.slice(1)}: `, el('code', null, one.repo || one.reference)),
    pairs([['licence', one.license || 'not stated'], ['commit', one.commit && el('code', null, short(one.commit))],
      ['typed as', one.repo ? el('code', null, one.reference) : null],
      ['weight', record.weights ? number(record.weights[n]) : null],
      ['made from', one.ancestors.map((ancestor) => ancestor.repo).join(', ')],
      ['files', one.files.slice(0, 6).map((file) => el('div', null, `${file.name}, ${bytes(file.size)}, SHA-256 `, el('code', null, short(file.sha256))))],
      ['', one.files.length > 6 ? `and ${one.files.length - 6} more files` : null]]));
  const { data, refit, benefit } = record;
  const settings = Object.entries(record.settings).filter(([, value]) => value !== null && value !== false && JSON.stringify(value) !== '{}')
    .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`);
  return section('provenance', 'Provenance',
    el('ul', { class: 'sources' }, record.sources.map(source)),
    pairs([
      ['operation', `${record.operation}, method ${record.method}, seed ${record.seed}`],
      ['data', data && [el('code', null, data.reference), data.rows === null ? '' : `, ${plural(data.rows, 'row')}`, data.digest ? [', SHA-256 ', el('code', null, short(data.digest))] : ', no digest']],
      ['settings', settings.join(', ')],
      ['refit', refit && `${refit.method}, ${plural(refit.layers.filter((layer) => layer.reason === null).length, 'layer')} of ${refit.layers.length}, ${plural(refit.calibration_rows, 'calibration row')}`],
      ['beside its parents', benefit && benefit.verdict],
      ['spec', el('code', null, short(record.spec_hash))],
      ['versions', Object.entries(record.versions).map(([name, value]) => `${name} ${value}`).join(', ')]]),
    record.command ? [el('h3', null, 'The command that made it'), copied(record.command, 'the command')] : null,
    DATA.gate ? [el('h3', null, 'Make it again and compare the bytes'), copied(`zooalign reproduce ${quoted(DATA.reference)}`, 'the command')] : null);
}

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, `'"'"'`)}'`);
