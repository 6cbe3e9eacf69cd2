
// The page: header, navigation, and the sections for which there is data.

function themeButton() {
  const names = { auto: 'Theme: auto', light: 'Theme: light', dark: 'Theme: dark' };
  const order = Object.keys(names);
  let theme = 'auto';
  const button = el('button', { type: 'button' }, names[theme]);
  button.addEventListener('click', () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = names[theme];
  });
  return button;
}

const kinds = { release: 'Release', connectivity: 'Connectivity', curves: 'Barrier curves', spec: 'Permutation spec' };
const parts = [
  ['overview', 'At a glance', true, overview],
  ['gate', 'Gate', DATA.gate, gateSection],
  ['connectivity', 'Connectivity', DATA.connectivity, connectivitySection],
  ['trajectories', 'Trajectories', DATA.connectivity && DATA.connectivity.trajectory_summary, trajectorySection],
  ['curves', 'Barriers', DATA.curves.length, curvesSection],
  ['moved', 'What moved', DATA.provenance && DATA.provenance.alignments.length, movedSection],
  ['structure', 'Symmetries', DATA.structure, structureSection],
  ['layers', 'Layer graph', DATA.graph && DATA.graph.nodes.length, layersSection],
  ['frozen', 'Frozen', DATA.structure, frozenSection],
  ['provenance', 'Provenance', DATA.provenance, provenanceSection],
].filter(([, , there]) => there);

const links = new Map(parts.map(([id, name]) => [id, el('a', { href: `#${id}` }, name)]));
const main = el('main', { id: 'main', tabindex: '-1' });
document.getElementById('app').replaceWith(
  el('header', { class: 'top wrap' },
    el('div', { class: 'eyebrow' }, el('span', null, `${kinds[DATA.kind]} · zooalign report`), themeButton()),
    el('h1', null, DATA.title),
    el('p', { class: 'lead' }, describedOperation() || el('code', null, DATA.reference))),
  el('nav', { class: 'sections', 'aria-label': 'Sections' }, el('div', { class: 'wrap' }, el('ul', null, [...links.values()].map((link) => el('li', null, link))))),
  el('div', { class: 'wrap' }, main, el('footer', null, `Made by zooalign ${DATA.version} from `, el('code', null, DATA.reference), '. This page is one file and asks for nothing from any network.')));

// Sections are added once the page stands, so that their pictures know their width.
for (const [id, , , build] of parts) main.append(build());

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const [id, link] of links) {
      if (id === entry.target.id) link.setAttribute('aria-current', 'true');
      else link.removeAttribute('aria-current');
    }
  }
}, { rootMargin: '-15% 0px -75% 0px' });
for (const [id] of parts) seen.observe(document.getElementById(id));
