'use strict';
const EVERY = 1000;
const byId = id => document.getElementById(id);

// All text comes in as text: names are given by discovery, and may be anything.
function el(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
function say(node, text) { if (node.textContent !== text) node.textContent = text; }
function dress(node, className) { if (node.className !== className) node.className = className; }

const dash = '–';
const percent = share => share === null ? dash : (share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0) + ' %';
const number = value => value === null ? dash : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : String(+value.toFixed(2));
const millis = value => value === null ? dash : number(value) + ' ms';
function span(seconds) {
  if (seconds < 1) return 'under 1 s';
  if (seconds < 100) return Math.floor(seconds) + ' s';
  if (seconds < 6000) return Math.floor(seconds / 60) + ' min';
  return seconds < 172800 ? Math.floor(seconds / 3600) + ' h' : Math.floor(seconds / 86400) + ' days';
}
const plural = (count, noun) => count + ' ' + noun + (count === 1 ? '' : 's');

async function call(path, body) {
  const ask = body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(5000), ...ask });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ? told.error.message : 'status ' + answer.status);
  return told;
}
const pathOf = (cluster, endpoint, order) => '/api/clusters/' + encodeURIComponent(cluster)
  + (endpoint === undefined ? '' : '/endpoints/' + encodeURIComponent(endpoint) + '/' + order);

let noting;
function note(text) {
  say(byId('note'), text);
  clearTimeout(noting);
  noting = setTimeout(() => say(byId('note'), ''), 8000);
}

// ---- clusters

const cards = new Map();

const COLUMNS = [['Endpoint'], ['State'], ['Weight', 'num'], ['Share expected / actual', 'share'],
  ['In flight', 'num'], ['p50 / p99', 'num'], ['Failed', 'num'], ['Breaker'], ['Orders', 'acts']];

function newCard(name) {
  const card = { root: el('section'), rows: new Map() };
  const head = el('div', 'head');
  const title = el('h2', '', name);
  title.id = 'cluster-' + cards.size;
  card.root.setAttribute('aria-labelledby', title.id);
  card.root.dataset.cluster = name;
  card.badge = el('span', 'badge');
  card.facts = el('p');
  card.discovery = el('p');
  head.append(title, card.badge, card.facts, card.discovery);
  const table = el('table');
  table.append(el('caption', 'unseen', 'Endpoints of ' + name));
  const row = el('tr');
  for (const [text, className] of COLUMNS) {
    const cell = el('th', className, text);
    cell.scope = 'col';
    row.append(cell);
  }
  const top = el('thead');
  top.append(row);
  card.body = el('tbody');
  table.append(top, card.body);
  const scroll = el('div', 'scroll');
  scroll.append(table);
  card.notes = el('ul', 'notes');
  card.legend = el('p', 'legend', 'Shares are of all requests of the cluster: the bar is what was sent in the last minute, the mark what weights and health say. '
    + 'p50, p99 and failures are of the last minute.');
  card.root.append(head, scroll, card.notes, card.legend);
  return card;
}

const FRESH = { applied: 'set by the program', pending: 'no source has answered yet', live: 'discovery is connected',
  stale: 'discovery is stale', absent: 'discovery says there is no such service' };

function drawCard(card, told) {
  const all = told.usable === told.endpoints_total && told.usable > 0;
  dress(card.badge, 'badge ' + (told.usable === 0 || told.panic ? 'bad' : all ? 'good' : 'warn'));
  say(card.badge, (all ? '✓ ' : '! ') + told.usable + ' of ' + told.endpoints_total + ' usable' + (told.panic ? ', in panic' : ''));
  say(card.facts, [told.policy, told.requests_per_s === null ? null : number(told.requests_per_s) + ' requests/s',
    told.in_flight + ' in flight' + (told.limit === null ? '' : ' of at most ' + told.limit)].filter(Boolean).join(' · '));
  const { state, age_s } = told.discovery;
  say(card.discovery, (FRESH[state] || state) + (age_s === null ? '' : state === 'stale' ? ' for ' + span(age_s) : ', confirmed ' + span(age_s) + ' ago'));
  const ids = new Set();
  let before = null;
  for (const endpoint of told.endpoints) {
    ids.add(endpoint.id);
    let row = card.rows.get(endpoint.id);
    if (!row) card.rows.set(endpoint.id, row = newRow(told.name, endpoint.id));
    drawRow(row, endpoint);
    // Only what has moved is moved: the focus stays where it is.
    const place = before ? before.nextSibling : card.body.firstChild;
    if (place !== row.root) card.body.insertBefore(row.root, place);
    before = row.root;
  }
  for (const [id, row] of card.rows) if (!ids.has(id)) { row.root.remove(); card.rows.delete(id); }
  drawNotes(card, told);
}

function drawNotes(card, told) {
  const lines = [];
  if (told.refused) lines.push('The newest set of endpoints was refused: ' + told.refused);
  if (told.endpoints_unlisted > 0) lines.push(plural(told.endpoints_unlisted, 'endpoint') + ' more, not listed: those in trouble come first.');
  if (!told.known) lines.push('No set of endpoints was ever applied.');
  for (const source of told.sources) {
    let line = 'Source ' + source.name + ': ' + source.state + ', ' + plural(source.endpoints, 'endpoint');
    if (source.age_s !== null) line += ', confirmed ' + span(source.age_s) + ' ago';
    if (source.held) line += ', holding endpoints that it no longer lists';
    if (source.over_age) line += ', too old';
    if (source.rejected) line += ', ' + plural(source.rejected, 'entry').replace('entrys', 'entries') + ' rejected';
    if (source.error) line += '; ' + source.error + ' (' + span(source.error_age_s) + ' ago)';
    lines.push(line);
  }
  for (const tier of told.tiers) {
    let line = 'Tier ' + tier.priority + (tier.in_subset ? '' : ', outside the subset') + ': ' + percent(tier.share + tier.degraded_share) + ' of requests';
    if (tier.panic) line += ', in panic';
    if (tier.left) line += ', left until it recovers';
    lines.push(line);
  }
  card.notes.hidden = lines.length === 0;
  while (card.notes.children.length > lines.length) card.notes.lastChild.remove();
  lines.forEach((line, at) => {
    if (!card.notes.children[at]) card.notes.append(el('li'));
    say(card.notes.children[at], line);
  });
}

function newRow(cluster, id) {
  const row = { root: el('tr') };
  row.root.dataset.endpoint = id;
  const name = el('th', '', id);
  name.scope = 'row';
  name.append(row.address = el('small'));
  const cell = className => { const made = el('td', className); row.root.append(made); return made; };
  row.root.append(name);
  const state = cell();
  state.append(row.state = el('span', 'badge'), row.why = el('small'));
  row.weight = cell('num');
  const share = cell('share');
  row.share = el('span');
  const bar = el('div', 'bar');
  bar.setAttribute('aria-hidden', 'true');
  bar.append(row.actual = el('i'), row.expected = el('b'));
  row.rate = el('small');
  share.append(row.share, bar, row.rate);
  [row.flight, row.latency, row.failed] = Array.from({ length: 3 }, () => cell('num'));
  const breaker = cell();
  breaker.append(row.breaker = el('span'), row.breakerWhy = el('small'));
  const acts = cell('acts');
  const button = (text, act) => {
    const made = el('button', '', text);
    made.type = 'button';
    made.addEventListener('click', act);
    acts.append(made);
    return made;
  };
  const name_of = order => order + ' ' + id;
  row.drain = button('Drain', () => order(cluster, id, row.isDrained ? 'undrain' : 'drain', {}));
  row.force = button('Force …', () => row.isForced ? order(cluster, id, 'unforce', {}) : askForce(cluster, id));
  row.weigh = button('Weight …', () => askWeight(cluster, id, row.weightNow));
  row.weigh.setAttribute('aria-label', name_of('Change the weight of'));
  return row;
}

function drawRow(row, told) {
  say(row.address, [told.address === told.id ? null : told.address, told.priority > 0 ? 'tier ' + told.priority : null, told.zone].filter(Boolean).join(' · '));
  row.address.hidden = !row.address.textContent;
  const kind = told.state === 'healthy' ? 'good' : told.usable ? 'warn' : told.state === 'admin_drain' || told.state === 'outside_subset' ? 'plain' : 'bad';
  dress(row.state, 'badge ' + kind);
  say(row.state, { good: '✓ ', warn: '! ', plain: '‖ ', bad: '✕ ' }[kind] + told.state_text);
  const why = [];
  if (told.age_s !== null) why.push('for ' + span(told.age_s));
  if (told.left_s !== null) why.push('ends in ' + span(told.left_s));
  if (told.by) why.push('by ' + told.by);
  if (told.reason) why.push(told.reason);
  for (const more of told.causes.slice(1)) why.push('also ' + more.text);
  say(row.why, why.join(', '));
  say(row.weight, String(told.weight) + (told.factor < 1 ? ' × ' + told.factor : ''));
  row.weightNow = told.weight;
  say(row.share, percent(told.expected_share) + ' / ' + percent(told.actual_share));
  row.actual.style.width = (told.actual_share || 0) * 100 + '%';
  row.expected.style.left = told.expected_share * 100 + '%';
  say(row.rate, told.requests_per_s === null ? 'not metered' : number(told.requests_per_s) + ' requests/s');
  say(row.flight, told.in_flight + (told.limit === null ? '' : ' / ' + told.limit));
  say(row.latency, told.p99_ms === null ? dash : number(told.p50_ms) + ' / ' + millis(told.p99_ms));
  say(row.failed, percent(told.failed_share));
  const breaker = told.breaker;
  const open = breaker && (breaker.state === 'open' || breaker.state === 'forced_open');
  say(row.breaker, breaker ? breaker.state.replace('_', ' ') : 'none');
  dress(row.breaker, !breaker || breaker.state === 'closed' ? '' : 'badge ' + (open ? 'bad' : 'warn'));
  say(row.breakerWhy, !breaker ? '' : [breaker.left_s === null ? null : 'ends in ' + span(breaker.left_s), breaker.by ? 'by ' + breaker.by : null].filter(Boolean).join(', '));
  row.isDrained = told.causes.some(cause => cause.cause === 'admin_drain' || cause.cause === 'maintenance');
  row.isForced = Boolean(breaker && breaker.state === 'forced_open');
  say(row.drain, row.isDrained ? 'Undrain' : 'Drain');
  row.drain.setAttribute('aria-label', (row.isDrained ? 'Undrain ' : 'Drain ') + told.id);
  row.force.hidden = !breaker;
  say(row.force, row.isForced ? 'End force' : 'Force …');
  row.force.setAttribute('aria-label', row.isForced ? 'End the force on the breaker of ' + told.id : 'Force the breaker of ' + told.id + ' open');
}

async function order(cluster, id, name, body) {
  try {
    const told = await call(pathOf(cluster, id, name), body);
    const card = cards.get(cluster);
    if (card) drawCard(card, told);
    return null;
  } catch (error) {
    note(name + ' ' + id + ': ' + error.message);
    return error;
  }
}

// ---- dialogs

const dialog = byId('dialog');
let confirmed = async () => null;
function ask(title, text, fields, act) {
  say(byId('dialog-title'), title);
  say(byId('dialog-text'), text);
  say(byId('dialog-error'), '');
  byId('dialog-fields').replaceChildren(...fields.map(([name, label, value, hint]) => {
    const wrap = el('label', '', label);
    const input = el('input');
    input.name = name;
    input.value = value;
    input.required = true;
    input.placeholder = hint || '';
    input.autocomplete = 'off';
    wrap.append(input);
    return wrap;
  }));
  confirmed = act;
  dialog.showModal();
}
dialog.querySelector('[value=cancel]').addEventListener('click', () => dialog.close());
dialog.querySelector('form').addEventListener('submit', async event => {
  event.preventDefault();
  try {
    await confirmed(Object.fromEntries(new FormData(event.target)));
    dialog.close();
  } catch (error) {
    say(byId('dialog-error'), error.message);
  }
});
async function orderFromDialog(cluster, id, name, body) {
  const told = await call(pathOf(cluster, id, name), body);
  const card = cards.get(cluster);
  if (card) drawCard(card, told);
}
function askForce(cluster, id) {
  ask('Force the breaker of ' + id + ' open', 'It gets no requests until the time is over.',
    [['for', 'For how long', '5m', '30s, 5m'], ['owner', 'By whom (up to eight of a-z, 0-9, -, _ and .)', '', 'oncall']],
    fields => orderFromDialog(cluster, id, 'force-open', fields));
}
function askWeight(cluster, id, weight) {
  ask('Weight of ' + id, 'Until its source announces another one. Zero is not allowed here: drain it instead.', [['weight', 'Weight', String(weight)]],
    fields => {
      if (!/^[0-9]{1,10}$/.test(fields.weight.trim())) throw new Error('a weight is a whole number');
      return orderFromDialog(cluster, id, 'weight', { weight: Number(fields.weight) });
    });
}

// ---- explain

const form = byId('ask');
function whom() { return form.elements.whom.value; }
function fitForm() {
  const router = whom().startsWith('router:');
  for (const label of form.querySelectorAll('.of-router')) label.hidden = !router;
  for (const label of form.querySelectorAll('.of-cluster')) label.hidden = router;
}
function drawChoices(told) {
  const wanted = [...told.routers.map(name => ['router:' + name, 'router ' + name]), ...told.clusters.map(({ name }) => ['cluster:' + name, 'cluster ' + name])];
  const select = form.elements.whom;
  if (wanted.map(([value]) => value).join('\n') === [...select.options].map(option => option.value).join('\n')) return;
  const chosen = select.value;
  select.replaceChildren(...wanted.map(([value, text]) => { const option = el('option', '', text); option.value = value; return option; }));
  if (wanted.some(([value]) => value === chosen)) select.value = chosen;
  fitForm();
}
form.elements.whom.addEventListener('change', fitForm);
form.addEventListener('submit', async event => {
  event.preventDefault();
  const fields = form.elements;
  const at = whom().indexOf(':');
  const body = { [whom().slice(0, at)]: whom().slice(at + 1) };
  if (at === 6) {
    const lines = fields.headers.value.split('\n').filter(line => line.trim());
    const headers = lines.map(line => { const cut = line.indexOf(':'); return cut < 1 ? null : [line.slice(0, cut).trim(), line.slice(cut + 1).trim()]; });
    if (headers.includes(null)) return drawTrail(el('p', 'badge bad', 'A header is a name, a colon and a value.'));
    Object.assign(body, { method: fields.method.value.trim(), host: fields.host.value.trim(), path: fields.path.value.trim(), headers });
    if (fields.listener.value.trim()) body.listener = fields.listener.value.trim();
  } else if (fields.key.value) {
    body.key = fields.key.value;
  }
  if (fields.source.value.trim()) body.source = fields.source.value.trim();
  try {
    const told = await call('/api/explain', body);
    const end = el('p');
    end.append(el('span', 'badge ' + (told.picked ? 'good' : 'warn'), told.picked ? '✓ goes to ' + told.picked : '! no endpoint named'),
      ' ' + [told.route === null ? null : 'route ' + told.route, told.cluster === null ? null : 'cluster ' + told.cluster].filter(Boolean).join(', '));
    const trail = el('pre');
    for (const line of told.trail) trail.append(el('span', /^\s*\*|^picked/.test(line) ? 'picked' : '', line), '\n');
    drawTrail(end, trail);
  } catch (error) {
    drawTrail(el('p', 'badge bad', '✕ ' + error.message));
  }
});
function drawTrail(...parts) { byId('trail').replaceChildren(...parts); }

// ---- life

function drawOrders(orders) {
  byId('orders').hidden = orders.length === 0;
  const body = byId('orders').querySelector('tbody');
  body.replaceChildren(...orders.map(one => {
    const row = el('tr');
    row.append(...[span(one.age_s) + ' ago', one.cluster, one.endpoint, one.order, one.by || dash].map(text => el('td', '', text)));
    return row;
  }));
}

let lastAnswer = null;
let uptime = 0;
let restarts = 0;
async function look() {
  const told = await call('/api/clusters');
  const wholes = await Promise.all(told.clusters.map(({ name }) => call(pathOf(name)).catch(error => error)));
  const names = new Set(told.clusters.map(({ name }) => name));
  for (const [name, card] of cards) if (!names.has(name)) { card.root.remove(); cards.delete(name); }
  told.clusters.forEach(({ name }, at) => {
    if (wholes[at] instanceof Error) return;
    let card = cards.get(name);
    if (!card) {
      cards.set(name, card = newCard(name));
      byId('clusters').append(card.root);
    }
    drawCard(card, wholes[at]);
  });
  drawChoices(told);
  drawOrders(told.orders);
  if (told.uptime_s < uptime) restarts += 1;
  uptime = told.uptime_s;
  say(byId('facts'), ['up for ' + span(uptime), told.reloads ? plural(told.reloads, 'reload') : null, restarts ? 'restarted while you watched' : null,
    told.unchecked.length ? plural(told.unchecked.length, 'endpoint') + ' cannot be checked: ' + told.unchecked[0] : null].filter(Boolean).join(' · '));
}
async function live() {
  if (!document.hidden) {
    try {
      await look();
      lastAnswer = Date.now();
      dress(byId('link'), 'badge good');
      say(byId('link'), '✓ live');
    } catch {
      dress(byId('link'), 'badge bad');
      say(byId('link'), lastAnswer === null ? '✕ no answer yet, trying again' : '✕ no answer for ' + span((Date.now() - lastAnswer) / 1000) + ', trying again; numbers are old');
    }
  }
  setTimeout(live, EVERY);
}
live();
