// The views: each makes its cards once, and fills them from every frame.
import { Card, LinePlot, MapPlot, asSteps, binning, crop, element, filledPart, shiftOf, short } from "./plots.js";

const ORBIT_HZ = 40.079e6 / 3564, ORBITS_OF_LUMISECTION = 1 << 18;
const sum = (values) => { let t = 0; for (const v of values) t += v; return t; };
const empty = (main, title, text) => main.append(element("div", { class: "empty" }, element("h2", {}, title), element("p", {}, text)));
const tile = (label) => {
  const value = element("b", {}, "–"), more = element("small", {});
  return { node: element("div", { class: "tile" }, element("span", {}, label), value, more), set(v, text = "", state = "") {
    value.textContent = v; more.textContent = text; this.node.dataset.state = state;
  } };
};
export const percent = (fraction) => `${fraction > 0.9995 ? 100 : short(+(100 * fraction).toPrecision(3))} %`;
const khz = (hz) => (hz === null ? "–" : `${short(+(hz / 1e3).toPrecision(3))} kHz`);
function withError({ rate_hz: rate, error_hz: error }) {
  if (rate === null) return "–";
  const digits = Math.min(Math.max(1 - Math.floor(Math.log10(error / 1e3)), 0), 6);
  return `${(rate / 1e3).toFixed(digits)} ± ${(error / 1e3).toFixed(digits)} kHz`;
}
const cells = (row, values) => row.replaceChildren(...values.map((v) => element("td", {}, v instanceof Node ? v : String(v))));

export const VIEWS = {};

VIEWS.overview = {
  title: "Overview", uses: [],
  build(main, context) {
    const tiles = Object.fromEntries(Object.entries({ speed: "Read now", orbits: "Orbits read", rate: "Objects per orbit", lost: "Orbits lost", lag: "Largest lag", buffer: "Fullest buffer", anomaly: "Anomalous crossings" }).map(([k, v]) => [k, tile(v)]));
    main.append(element("div", { class: "tiles" }, ...Object.values(tiles).map((t) => t.node)));
    const alarms = element("ul", { class: "alarms", "aria-label": "Alarms" });
    const alarmCard = new Card("Alarms", true), table = element("table"), processes = new Card("Processes", true);
    alarmCard.body.append(alarms);
    table.append(element("thead", {}, element("tr", {}, ...["Process", "State", "x LHC", "MB/s in", "MB/s out", "Buffer", "Lag", "CPU", "Restarts"].map((t) => element("th", {}, t)))), element("tbody"));
    processes.body.append(table);
    processes.node.classList.add("scroll");
    const speed = new Card("Orbits read"), rate = new Card("Objects per orbit"), pt = new Card("Transverse momentum"), mass = new Card("Dimuon mass, opposite sign");
    main.append(element("div", { class: "grid" }, alarmCard.node, speed.node, rate.node, pt.node, mass.node, processes.node));
    this.plots = {
      speed: new LinePlot(speed, { xLabel: "time", yLabel: "x LHC", time: true, steps: false, height: 150, series: [{ label: "x LHC", color: "--accent", fill: true }] }),
      rate: new LinePlot(rate, { xLabel: "time", yLabel: "objects per orbit", time: true, steps: false, height: 150, series: [{ label: "objects per orbit", color: "--second", fill: true }] }),
    };
    Object.assign(this, { tiles, alarms, table, processes, pt: null, cards: { pt, mass }, context });
  },
  update(frame) {
    const { head, arrays } = frame, chain = head.chain, t = this.tiles;
    const times = arrays.get("series/time") || [], speeds = arrays.get("series/real_time_factor") || [], rates = arrays.get("series/objects_per_orbit") || [];
    const recent = Array.from(speeds.slice(-4));
    const fractions = Array.from((arrays.get("series/seen_fraction") || []).slice(-4)).filter((v) => !Number.isNaN(v));
    const now = recent.length ? sum(recent) / recent.length : null;
    t.speed.set(now === null ? "–" : `${short(+now.toPrecision(3))} × LHC`, now ? `${short(now * ORBIT_HZ)} orbits/s, ${percent(fractions.length ? sum(fractions) / fractions.length : 1)} of those taken` : "no data just now");
    t.orbits.set(head.orbits.toLocaleString("en"), `${short(head.orbits / ORBIT_HZ)} s of the LHC${head.seen_fraction === null ? "" : `; ${percent(head.seen_fraction)} of those since the first`}${head.skipped.segments || head.skipped.bytes ? ": a sample" : ""}`);
    const known = Array.from(rates).filter((v) => !Number.isNaN(v));
    t.rate.set(known.length ? short(+known[known.length - 1].toPrecision(3)) : "–", head.stream);
    const lost = chain ? sum(Object.values(chain.lost)) : null;
    t.lost.set(lost === null ? "–" : lost.toLocaleString("en"), lost === null ? "known to run control only" : Object.entries(chain.lost).filter(([, n]) => n).map(([k, n]) => `${k} ${n.toLocaleString("en")}`).join(", ") || "none", lost ? "bad" : "");
    const rows = chain ? Object.entries(chain.processes) : [];
    const lag = rows.filter(([, p]) => p.lag_s !== null).map(([n, p]) => [p.lag_s, n]).sort((a, b) => b[0] - a[0])[0];
    t.lag.set(lag ? `${short(+lag[0].toPrecision(2))} s` : "–", lag ? `of the ${lag[1]}` : "known to run control only");
    const full = rows.filter(([, p]) => p.buffer.limit).map(([n, p]) => [p.buffer.holds / p.buffer.limit, n]).sort((a, b) => b[0] - a[0])[0];
    t.buffer.set(full ? `${Math.round(full[0] * 100)} %` : "–", full ? full[1] : "known to run control only", full && full[0] > 0.8 ? "bad" : "");
    const models = (head.models || []).filter((m) => m.rates.length);
    t.anomaly.node.hidden = !models.length;
    if (models.length) {
      const [{ name, scored, rates }] = models, { newest } = rates[rates.length - 1];
      t.anomaly.set(khz(newest.rate_hz), `± ${khz(newest.error_hz)}: ${name} above ${short(newest.hw_score)}; when trained ${khz(newest.trained_hz)}; ${percent(scored || 0)} of the orbits scored`);
    }
    if (times.length > 1) {
      this.plots.speed.set([times, speeds]);
      this.plots.rate.set([times, Array.from(rates, (v) => (Number.isNaN(v) ? null : v))]);
    }
    const linked = (a) => (a.link && a.link.startsWith("?") ? element("a", { href: a.link }, a.text) : a.text);
    const texts = [...(head.alarms || []).map(linked), ...(chain ? chain.alarms : []), ...head.faults];
    const warnings = chain ? chain.warnings : [];
    const listed = JSON.stringify([head.alarms, chain && [chain.alarms, warnings], head.faults]);
    if (listed !== this.listed) this.alarms.replaceChildren(...texts.map((a) => element("li", { class: "bad" }, a)), ...warnings.map((w) => element("li", { class: "warn" }, w)),
      ...(texts.length + warnings.length ? [] : [element("li", { class: "good" }, chain ? "No alarms." : "No alarms here. No run control (l1scout run) answers, so losses, buffers and lag of the chain are not known.")]));
    this.listed = listed;  // a link that is replaced cannot be clicked
    this.processes.node.hidden = !rows.length;
    this.table.tBodies[0].replaceChildren(...rows.map(([name, p]) => {
      const row = element("tr", {});
      const state = element("span", { class: `state ${p.state}` }, p.state);
      const buffer = p.buffer.limit ? `${short(p.buffer.holds)} / ${short(p.buffer.limit)} ${p.buffer.unit}` : `${short(p.buffer.holds)} ${p.buffer.unit}`;
      const number = (v, digits = 2) => (v === null ? "" : v.toFixed(digits));
      cells(row, [name, state, number(p.real_time_factor), number(p.mb_in_per_s, 1), number(p.mb_out_per_s, 1), buffer, p.lag_s === null ? "" : `${p.lag_s.toFixed(1)} s`, `${Math.round(p.cpu_cores * 100)} %`, p.restarts]);
      return row;
    }));
    this.spectra(frame);
  },
  spectra({ head, arrays }) {
    const described = this.context.described;
    if (!described) return;
    const show = (card, names, labels) => {
      const found = names.filter((n) => arrays.has(`${head.stream}/${n}`) && sum(arrays.get(`${head.stream}/${n}`)) > 0);
      card.node.hidden = !found.length;
      if (found.length) spectrum(card, described, head, arrays, found, labels, this.context);
    };
    const main = described.histograms.pt ? "pt" : "et";
    show(this.cards.pt, [main, "pt_recalibrated"], ["trigger", "recalibrated"]);
    show(this.cards.mass, ["mass_opposite_sign", "mass_recalibrated_opposite_sign"], ["trigger", "recalibrated"]);
  },
};

// Draw one or two histograms with the same axis, and those of the reference, scaled to the same orbits.
function spectrum(card, described, head, arrays, names, labels, context) {
  const known = described.histograms[names[0]], axis = known.axes[0];
  const counts = names.map((n) => arrays.get(`${head.stream}/${n}`));
  const reference = context.reference && context.reference.arrays.get(`${head.stream}/${names[0]}`);
  const all = reference ? [...counts, reference] : counts;
  const { x, join } = binning(axis.edges, counts[0], axis.regular ? 128 : 150, all, context.log || !axis.regular);
  const shift = shiftOf(axis, x);
  const scale = reference && context.reference.head.orbits && head.orbits ? head.orbits / context.reference.head.orbits : 1;
  const series = names.map((n, k) => ({ label: labels[k] || known.title, color: k ? "--accent" : names.length > 1 ? "--second" : "--accent", fill: k === names.length - 1 }));
  if (reference) series.push({ label: `reference (${context.reference.head.name})`, color: "--reference", dash: [5, 4], width: 1.2 });
  const key = JSON.stringify([names, reference ? context.reference.head.name : "", context.log]);
  if (card.key !== key) {
    if (card.plot) { card.plot.close(); card.body.replaceChildren(); }
    card.plot = new LinePlot(card, { xLabel: axis.label, yLabel: `${known.counts} / bin`, logX: !axis.regular, logY: context.log, integers: shift > 0, series });
    card.key = key;
  }
  const data = [shift ? x.map((v) => v - shift) : x, ...counts.map((c) => asSteps(join(c)))];
  if (reference) data.push(asSteps(join(reference).map((v) => v * scale)));
  card.plot.set(data, shift);
  card.plot.note(`${sum(counts[0]).toLocaleString("en")} ${known.counts}`);
  card.download = { stream: head.stream, histogram: names[0] };
}

const PAIRS = [["pt", "pt_recalibrated", "Transverse momentum"], ["mass_opposite_sign", "mass_recalibrated_opposite_sign", "Dimuon mass, opposite sign"], ["mass_same_sign", "mass_recalibrated_same_sign", "Dimuon mass, same sign"]];

VIEWS.physics = {
  title: "Physics", uses: ["stream", "window", "reference", "log", "downloads"],
  build(main, context) { Object.assign(this, { grid: element("div", { class: "grid" }), cards: new Map(), context }); main.append(this.grid); },
  update({ head, arrays }) {
    const described = this.context.described;
    if (!head.stream || !described) return;
    const left = new Set([...arrays.keys()].filter((n) => n.startsWith(`${head.stream}/`)).map((n) => n.slice(head.stream.length + 1)));
    const groups = [];
    for (const [raw, other, title] of PAIRS) if (left.delete(raw)) groups.push(left.delete(other) ? [[raw, other], title] : [[raw], title]);
    for (const name of left) groups.push([[name], described.histograms[name].title]);
    for (const [names, title] of groups) {
      const filled = names.filter((n, k) => !k || sum(arrays.get(`${head.stream}/${n}`)) > 0);
      if (!this.cards.has(names[0])) {
        const card = new Card(title);
        this.cards.set(names[0], card);
        this.grid.append(card.node);
      }
      spectrum(this.cards.get(names[0]), described, head, arrays, filled, names.length > 1 ? ["trigger", "recalibrated"] : [], this.context);
    }
  },
};

VIEWS.maps = {
  title: "Maps", uses: ["stream", "window", "reference", "log", "downloads"],
  build(main, context) {
    Object.assign(this, { grid: element("div", { class: "grid" }), maps: new Map(), context });
    main.append(this.grid);
  },
  update({ head, arrays }) {
    const described = this.context.described;
    if (!head.stream || !described) return;
    let any = false;
    for (const [name, known] of Object.entries(described.histograms)) {
      const counts = arrays.get(`${head.stream}/${name}`);
      if (!counts) continue;
      if (known.axes.length === 1) { this.profile(name, described, head, arrays); any = true; continue; }
      any = true;
      const [wholeX, wholeY] = known.axes.slice(-2), nx = wholeX.edges.length - 1, ny = wholeY.edges.length - 1, size = nx * ny, parts = counts.length / size;
      const reference = this.context.reference && this.context.reference.arrays.get(`${head.stream}/${name}`);
      const labels = known.axes.length > 2 ? known.axes[0].label.split(", ") : [];
      let all = add(counts, parts, size), allReference = reference ? add(reference, parts, size) : null;
      const part = filledPart(reference ? all.map((v, k) => v + allReference[k]) : all, nx, ny);
      const cut = (axis, low, high) => ({ ...axis, edges: axis.edges.slice(low, high + 2) });
      const x = cut(wholeX, part[0], part[1]), y = cut(wholeY, part[2], part[3]);
      all = crop(all, ny, part);
      allReference = allReference && crop(allReference, ny, part);
      this.map("all", parts > 1 ? "All track finders" : known.title, x, y, all, known.counts);
      this.ratio(head, x, y, all, allReference);
      if (parts > 1) for (let k = 0; k < parts; k++) this.map(`part ${k}`, labels[k] || `part ${k}`, x, y, crop(counts.subarray(k * size, (k + 1) * size), ny, part), known.counts);
    }
    if (!any && !this.grid.childElementCount) empty(this.grid, "No map", "The objects of this stream have no direction: choose another stream.");
  },
  profile(name, described, head, arrays) {
    if (!this.maps.has(name)) { const card = new Card(described.histograms[name].title, true); this.maps.set(name, card); this.grid.append(card.node); }
    spectrum(this.maps.get(name), described, head, arrays, [name], [], this.context);
  },
  map(key, title, x, y, values, counts) {
    if (!this.maps.has(key)) {
      const card = new Card(title);
      this.maps.set(key, new MapPlot(card, { xLabel: x.label, yLabel: y.label, unit: ` ${counts}` }));
      this.grid.append(card.node);
    }
    Object.assign(this.maps.get(key), { xEdges: x.edges, yEdges: y.edges });
    const shown = this.context.log ? Array.from(values, (v) => (v > 0 ? Math.log10(v) : NaN)) : values;
    let high = 0;
    for (const v of shown) if (v > high) high = v;
    this.maps.get(key).set(shown, 0, high || 1, `${sum(values).toLocaleString("en")} ${counts}${this.context.log ? ", log10" : ""}`);
  },
  ratio(head, x, y, all, reference) {
    const nx = x.edges.length - 1, ny = y.edges.length - 1, values = new Float64Array(nx * ny);
    const title = reference ? "Ratio to the reference" : "Ratio to the mean of each ring in phi";
    const key = `ratio ${Boolean(reference)}`;
    const scale = reference ? sum(reference) / (sum(all) || 1) : 1;
    for (let i = 0; i < nx; i++) {
      const ring = all.subarray ? all.subarray(i * ny, (i + 1) * ny) : all.slice(i * ny, (i + 1) * ny), mean = sum(ring) / ny;
      for (let j = 0; j < ny; j++) {
        const expected = reference ? reference[i * ny + j] / scale : mean;
        values[i * ny + j] = expected >= 4 ? all[i * ny + j] / expected : NaN;
      }
    }
    if (!this.maps.has(key)) {
      const card = new Card(title);
      this.maps.set(key, new MapPlot(card, { xLabel: x.label, yLabel: y.label, diverging: true }));
      this.grid.insertBefore(card.node, this.grid.children[1] || null);
    }
    Object.assign(this.maps.get(key), { xEdges: x.edges, yEdges: y.edges });
    this.maps.get(key).set(values, 0, 2, "cells with 4 expected or more");
  },
};
function add(counts, parts, size) {
  const total = new Float64Array(size);
  for (let k = 0; k < parts; k++) for (let i = 0; i < size; i++) total[i] += counts[k * size + i];
  return total;
}

VIEWS.bunches = {
  title: "Bunches", uses: ["stream", "window", "reference", "log", "downloads"],
  build(main, context) {
    const tiles = { bunches: tile("Colliding BX"), mu: tile("Mean per colliding BX"), early: tile("1 BX before trains"), late: tile("1 BX after trains") };
    main.append(element("div", { class: "tiles" }, ...Object.values(tiles).map((t) => t.node)));
    const cards = { mu: new Card("Luminosity per bunch: mean number of objects per crossing", true), rate: new Card("Objects by BX", true), scheme: new Card("Filling scheme: BX that collide, by their rate", true), next: new Card("From a crossing with an object to the next one", true) };
    main.append(element("div", { class: "grid" }, ...Object.values(cards).map((c) => c.node)));
    const line = (card, yLabel, more = []) => new LinePlot(card, { xLabel: "BX", yLabel, integers: true, logY: context.log, height: 220, series: [{ label: yLabel, color: "--accent", fill: true, width: 1 }, ...more] });
    const reference = context.reference ? [{ label: "reference", color: "--reference", width: 1, dash: [4, 3] }] : [];
    this.plots = { mu: line(cards.mu, "mu", reference), rate: line(cards.rate, "kHz") };
    this.plots.scheme = new LinePlot(cards.scheme, { xLabel: "BX", yLabel: "collides", integers: true, height: 90, series: [{ label: "collides", color: "--second", fill: true, width: 1 }] });
    this.trains = element("p", { class: "trains" });
    cards.scheme.node.append(this.trains);
    Object.assign(this, { tiles, cards, context });
  },
  update({ head, arrays }) {
    const s = head.stream, occupied = arrays.get(`${s}/occupied_bx`), bx = arrays.get(`${s}/bx`), n = head.orbits;
    if (!occupied || !n) return;
    const zero = (k, orbits) => (k < orbits ? -Math.log1p(-k / orbits) : NaN);
    const mu = Array.from(occupied, (k) => zero(k, n)), number = Array.from(mu.keys());
    const data = [number, mu];
    const r = this.context.reference;
    if (r && r.arrays.get(`${s}/occupied_bx`)) data.push(Array.from(r.arrays.get(`${s}/occupied_bx`), (k) => zero(k, r.head.orbits)));
    else if (r) data.push(mu.map(() => null));
    this.plots.mu.set(data);
    this.plots.rate.set([number, Array.from(bx, (k) => k / n * ORBIT_HZ / 1e3)]);
    this.plots.mu.note(`zero counting, ${n.toLocaleString("en")} orbits`);
    this.plots.rate.note(`${sum(bx).toLocaleString("en")} objects`);
    this.cards.mu.download = { stream: s, histogram: "occupied_bx" };
    this.cards.rate.download = { stream: s, histogram: "bx" };
    const top = [...mu].filter((v) => v > 0).sort((a, b) => b - a), typical = top[Math.floor(top.length / 4)] || 0;
    const colliding = mu.map((v) => v > typical / 4), near = (k) => ((k - 1 + 3564) % 3564) + 1;
    let before = 0, first = 0, after = 0, last = 0, sumMu = 0, count = 0;
    for (let k = 1; k <= 3564; k++) {
      if (!colliding[k]) continue;
      count++; sumMu += mu[k];
      if (!colliding[near(k - 1)] && !colliding[near(k - 2)]) { first += mu[k]; before += mu[near(k - 1)]; }
      if (!colliding[near(k + 1)] && !colliding[near(k + 2)]) { last += mu[k]; after += mu[near(k + 1)]; }
    }
    const sure = typical * n > 20;
    this.tiles.bunches.set(sure ? count : "–", sure ? "by their rate" : "too few objects to tell");
    this.scheme(sure ? colliding : [], number);
    this.tiles.mu.set(sure ? short(sumMu / count) : "–", "objects per crossing");
    this.tiles.early.set(sure && first ? `${short(+(100 * before / first).toPrecision(3))} %` : "–", "of the first BX: prefiring");
    this.tiles.late.set(sure && last ? `${short(+(100 * after / last).toPrecision(3))} %` : "–", "of the last BX: postfiring, afterglow");
    if (this.context.described && arrays.get(`${s}/next_crossing`)) spectrum(this.cards.next, this.context.described, head, arrays, ["next_crossing"], [], this.context);
  },
  scheme(colliding, number) {
    this.cards.scheme.node.hidden = !colliding.length;
    if (!colliding.length) return;
    const found = trains(colliding), names = found.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`));
    this.plots.scheme.set([number, colliding.map(Number)]);
    this.plots.scheme.note(`${sum(colliding.map(Number)).toLocaleString("en")} BX in ${found.length} train${found.length > 1 ? "s" : ""} and single bunches; above a quarter of a typical rate`);
    this.trains.textContent = `BX ${names.slice(0, 60).join(", ")}${names.length > 60 ? `, and ${names.length - 60} more` : ""}`;
  },
};

// Ranges of neighbouring BX that collide: [first, last].
export function trains(colliding) {
  const found = [];
  colliding.forEach((collides, bx) => {
    if (!collides) return;
    if (found.length && found[found.length - 1][1] === bx - 1) found[found.length - 1][1] = bx;
    else found.push([bx, bx]);
  });
  return found;
}

VIEWS.menu = {
  title: "Menu", uses: ["window", "log", "downloads"],
  build(main, context) { Object.assign(this, { main, context, card: null }); this.none = false; },
  update({ head, arrays }) {
    const fired = arrays.get("gt/algorithm");
    if (!fired) {
      if (!this.none) empty(this.main, "No trigger decisions in these data", "Rates of the menu's algorithms appear here when the run has the stream gt (source 4).");
      this.none = true;
      return;
    }
    if (this.none) { this.main.replaceChildren(); this.none = false; }
    if (!this.card) {
      this.card = new Card("Rate of each algorithm", true);
      this.list = new Card("Highest rates", true);
      this.table = element("table", {}, element("thead", {}, element("tr", {}, ...["Algorithm", "Crossings", "Rate", "± stat."].map((t) => element("th", {}, t)))), element("tbody"));
      this.list.body.append(this.table);
      this.main.append(element("div", { class: "grid" }, this.card.node, this.list.node));
    }
    if (this.context.described) spectrum(this.card, this.context.described, head, arrays, ["algorithm"], [], this.context);
    const rate = (k) => k / head.orbits * ORBIT_HZ;
    const best = [...fired.entries()].filter(([, k]) => k).sort((a, b) => b[1] - a[1]).slice(0, 20);
    this.table.tBodies[0].replaceChildren(...best.map(([bit, k]) => { const row = element("tr"); cells(row, [bit, k.toLocaleString("en"), head.orbits ? `${short(rate(k))} Hz` : "–", head.orbits ? `${short(rate(Math.sqrt(k)))} Hz` : "–"]); return row; }));
  },
};

VIEWS.history = {
  title: "History", uses: ["log"],
  build(main, context) { Object.assign(this, { grid: element("div", { class: "grid" }), cards: new Map(), context }); main.append(this.grid); },
  update({ arrays }) {
    for (const name of [...arrays.keys()].filter((n) => n.endsWith("/section")).map((n) => n.split("/")[1])) {
      const of = (key) => arrays.get(`trend/${name}/${key}`), sections = of("section"), orbits = of("orbits");
      if (!sections.length) continue;
      const rows = [["rate", `${name}: objects per orbit`, "objects per orbit", Array.from(of("objects"), (v, k) => (orbits[k] ? v / orbits[k] : null)), "--accent"],
        ["live", `${name}: orbits read of a lumisection`, "%", Array.from(orbits, (v) => 100 * v / ORBITS_OF_LUMISECTION), "--second"]];
      for (const [key, title, unit, y, color] of rows) {
        if (!this.cards.has(name + key)) {
          const card = new Card(title);
          this.grid.append(card.node);
          card.plot = new LinePlot(card, { xLabel: "lumisection", yLabel: unit, height: 180, integers: true, logY: this.context.log, series: [{ label: unit, color, fill: true }] });
          this.cards.set(name + key, card);
        }
        const card = this.cards.get(name + key), gaps = asSteps(y);
        card.plot.set([[...sections, sections[sections.length - 1] + 1], gaps]);
        card.plot.note(`${sections.length} lumisection${sections.length > 1 ? "s" : ""} of 23.3 s`);
      }
    }
    if (!this.cards.size && !this.grid.childElementCount) empty(this.grid, "No lumisections yet", "A point appears for each lumisection that was read; data without a number of orbits have none.");
  },
};

VIEWS.compare = {
  title: "Compare", uses: ["stream", "a", "reference", "log", "downloads"],
  build(main, context) { Object.assign(this, { main, grid: element("div", { class: "grid" }), cards: new Map(), context }); main.append(this.grid); this.none = false; },
  update(frame) {
    const b = this.context.reference, described = this.context.described, { head, arrays } = frame;
    if (!b || !described) {
      if (!this.none) empty(this.grid, "Choose a reference", "Two runs are compared, histogram by histogram: choose the second one above. Runs are listed that were saved in the monitor's folder or given with --reference.");
      this.none = true;
      return;
    }
    if (this.none) { this.grid.replaceChildren(); this.none = false; }
    for (const [name, known] of Object.entries(described.histograms)) {
      const one = arrays.get(`${head.stream}/${name}`), two = b.arrays.get(`${head.stream}/${name}`);
      if (!one || !two || !sum(one) || !sum(two)) continue;
      if (!this.cards.has(name)) {
        const card = new Card(known.title), below = new Card("");
        card.node.append(below.body);
        card.ratio = new LinePlot(below, { xLabel: known.axes[0].label, yLabel: "ratio", logX: !known.axes[0].regular, height: 110, legend: false, series: [{ label: "ratio", color: "--accent" }, { label: "1", color: "--reference", dash: [3, 3], width: 1 }] });
        this.cards.set(name, card);
        this.grid.append(card.node);
      }
      const card = this.cards.get(name), shapes = !(head.orbits && b.head.orbits);
      spectrum(card, described, head, arrays, [name], [head.name || "this run"], this.context);
      const { x, join } = binning(known.axes[0].edges, one, known.axes[0].regular ? 128 : 150, [one, two]);
      const scale = shapes ? sum(one) / sum(two) : head.orbits / b.head.orbits, p = join(one), q = join(two);
      const shift = shiftOf(known.axes[0], x);
      card.ratio.set([x.map((v) => v - shift), asSteps(p.map((v, k) => (q[k] >= 4 ? v / (q[k] * scale) : null))), asSteps(p.map(() => 1))]);
      let chi2 = 0, bins = 0;
      p.forEach((v, k) => { if (v + q[k] >= 10) { chi2 += (v - q[k] * scale) ** 2 / (v + q[k] * scale * scale); bins++; } });
      card.note.textContent = `χ² / bins = ${short(+(chi2 / Math.max(bins, 1)).toPrecision(3))} (${bins})`;
    }
  },
};

VIEWS.anomaly = {
  title: "Anomaly", uses: ["window", "reference", "log", "downloads"],
  build(main, context) { Object.assign(this, { main, grid: element("div", { class: "grid" }), cards: new Map(), context }); main.append(this.grid); this.none = false; },
  update({ head, arrays }) {
    const streams = [...arrays.keys()].filter((n) => n.startsWith("anomaly") && n.endsWith("/score")).map((n) => n.slice(0, -6));
    const models = head.models || [];
    if (!models.length && !streams.length) {
      if (!this.none) empty(this.grid, "No anomaly scores", "Crossings are scored as they are read by l1scout monitor --anomaly-model FOLDER; l1scout anomaly train makes such a folder. Files that have scores show them here, too.");
      this.none = true;
      return;
    }
    if (this.none) { this.grid.replaceChildren(); this.none = false; }
    for (const model of models) {
      this.rates(model, head);
      this.spectrum(model.stream, model.name, head, arrays, model.orbits);
      model.rates.forEach((rate, k) => this.trend(model, rate.run, k + 1, arrays));
      this.top(model, head);
    }
    const known = new Set(models.map((m) => m.stream));
    for (const stream of streams.filter((n) => !known.has(n))) this.spectrum(stream, "Scores in the data", head, arrays, head.orbits);
  },
  card(key, title, wide, fill = () => {}) {
    if (!this.cards.has(key)) {
      const card = new Card(title, wide);
      fill(card);
      this.cards.set(key, card);
      this.grid.append(card.node);
    }
    return this.cards.get(key);
  },
  table(card, kind, heads) {
    card.table = element("table", { class: kind }, element("thead", {}, element("tr", {}, ...heads.map((t) => element("th", {}, t)))), element("tbody"));
    card.body.append(card.table);
    card.more = element("p", { class: "trains" });
    card.body.append(card.more);
    card.node.classList.add("scroll");
  },
  rates(model, head) {
    const card = this.card(`${model.stream} rates`, model.name, true, (made) => this.table(made, "", ["hwScore above", "Set for", "When trained", "Newest lumisection", "Run", "Crossings"]));
    const id = `0x${model.model_id.toString(16).padStart(3, "0")}`;
    card.note.textContent = `${model.model} (${id}), trained on ${model.trained_on}`;
    card.table.tHead.rows[0].cells[3].textContent = model.section === null ? "Newest lumisection" : `Lumisection ${model.section}`;
    card.table.tBodies[0].replaceChildren(...model.rates.map(({ newest, run }) => {
      const row = element("tr");
      cells(row, [short(run.hw_score), `${percent(run.fraction)} of crossings`, khz(run.trained_hz), withError(newest), withError(run), run.crossings.toLocaleString("en")]);
      return row;
    }));
    const scored = model.scored === null ? "No orbits were read yet." : `${percent(model.scored)} of the orbits read were scored${model.scored < 0.9995 ? ": a sample, as scoring is slower than the data, or a source lacks orbits; rates are per orbit that was scored" : ""}.`;
    const lacks = model.missing.length ? `Waits for ${model.missing.join(", ")}, which the model takes. ` : "";
    const unset = model.rates.length ? "" : "The card of this model states no thresholds. ";
    card.more.textContent = `${lacks}${unset}${scored} A high score means that a crossing is unlike the training data; it does not explain why.`;
  },
  spectrum(stream, name, head, arrays, orbits) {
    if (!this.context.described || !arrays.has(`${stream}/score`)) return;
    spectrum(this.card(`${stream} score`, `${name}: scores`, false), this.context.described, { ...head, stream, orbits }, arrays, ["score"], [], this.context);
  },
  trend(model, rate, number, arrays) {
    const of = (key) => arrays.get(`trend/${model.stream}/${key}`), sections = of("section"), orbits = of("orbits");
    if (!sections || !sections.length) return;
    const card = this.card(`${model.stream} trend ${number}`, `${model.name}: rate above ${short(rate.hw_score)}`, false, (made) => {
      made.plot = new LinePlot(made, { xLabel: "lumisection", yLabel: "kHz", height: 180, integers: true, logY: this.context.log, bands: [{ series: [2, 3], color: "--accent" }], series: [
        { label: "rate", color: "--accent" }, { label: "+1σ", color: "--accent", width: 0.4 }, { label: "−1σ", color: "--accent", width: 0.4 }, { label: "when trained", color: "--reference", dash: [5, 4], width: 1.2 }] });
    });
    const above = Array.from(sections, () => 0);
    for (let k = number; of(`exceeded_${k}`); k++) of(`exceeded_${k}`).forEach((n, at) => { above[at] += n; });
    const hz = Array.from(orbits, (n) => (n ? ORBIT_HZ / 1e3 / n : null));
    const line = (change) => asSteps(above.map((n, at) => (hz[at] === null ? null : Math.max(n + change * Math.sqrt(n), 0) * hz[at])));
    const trained = rate.trained_hz === null ? null : rate.trained_hz / 1e3;
    card.plot.set([[...sections, sections[sections.length - 1] + 1], line(0), line(1), line(-1), asSteps(above.map(() => trained))]);
    card.plot.note(`${sections.length} lumisection${sections.length > 1 ? "s" : ""} of 23.3 s`);
  },
  top(model, head) {
    const card = this.card(`${model.stream} top`, `${model.name}: highest scores`, true, (made) => this.table(made, "listed", ["hwScore", "Run", "Lumisection", "Orbit", "BX", "Objects: pT (eta, phi)"]));
    card.note.textContent = head.window === "last" ? "newest lumisection" : "whole run";
    const listed = JSON.stringify(model.top);
    if (listed === card.listed) return;  // rows that are replaced cannot be copied
    card.listed = listed;
    card.table.tBodies[0].replaceChildren(...model.top.map((t) => {
      const row = element("tr");
      cells(row, [t.hw_score.toLocaleString("en"), t.run, t.lumisection, t.orbit, t.bx, t.objects]);
      return row;
    }));
    if (!model.top.length) { card.more.textContent = "None yet."; return; }
    const named = model.top.filter((t) => t.run === model.top[0].run).map((t) => `${t.orbit}:${t.bx}`).join(",");
    card.more.replaceChildren("Look them up in the store: ", element("code", {}, `l1scout skim STORE top.root --run ${model.top[0].run} --crossings ${named} --window 3`));
  },
};
