// Histograms and lines with uPlot, maps on a canvas.

const WALL = innerWidth > 2400, FONT = WALL ? 17 : 11;  // a wall screen is read from afar
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Times are UTC everywhere, in 24 hours: hh:mm:ss, or its first characters.
export const clock = (seconds, length = 8) => new Date(seconds * 1000).toISOString().slice(11, 11 + length);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((c) => c !== null && c !== undefined));
  return made;
}

export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e4 || (size > 0 && size < 1e-3)) {
    if (size < 1e-3) return value.toExponential(1).replace("-", "−");
    const unit = size >= 1e12 ? [1e12, "T"] : size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    return `${+(value / unit[0]).toPrecision(3)}${unit[1]}`;
  }
  return `${+value.toPrecision(4)}`.replace("-", "−");
}

// A card with a title, a note at its right, and a place for a plot.
export class Card {
  constructor(title, wide = false) {
    this.note = element("span", { class: "note" });
    this.body = element("div", { class: "plot" });
    this.node = element("section", { class: wide ? "card wide" : "card" },
      element("h2", {}, element("span", {}, title), this.note), this.body);
  }
}

const PLOTS = new Set();
export const forgetPlots = () => { PLOTS.forEach((p) => p.close()); PLOTS.clear(); };
const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) if (target.plot) target.plot.resize();
});

function axisOf(label, log, log2) {
  const small = { stroke: css("--text-dim"), grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), width: 1, size: 4 },
    font: `${FONT}px ${css("--font")}`, labelFont: `${FONT}px ${css("--font")}`, label, labelSize: FONT + 5, size: WALL ? 40 : 28 };
  if (log) small.filter = (u, splits) => splits.map((v) => (log2 && [1, 2, 5].includes(+String(v.toExponential())[0]) || Math.abs(Math.log10(v) % 1) < 1e-9 ? v : null));
  return small;
}

// Lines or steps; series: [{label, color, dash, fill}], data: [x, y...].
export class LinePlot {
  constructor(card, { xLabel, yLabel, series, steps = true, time = false, integers = false, legend = true, logX = false, logY = false, height = 200, zeroY = true, bands = [] }) {
    this.card = card;
    height = WALL ? Math.round(height * 1.9) : height;
    this.height = height;
    this.logX = logX;
    this.logY = logY;
    const stepped = uPlot.paths.stepped({ align: 1 });
    const range = (u, low, high) => {
      if (logY) return low > 0 && high > 0 ? [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.05))] : [0.1, 10];
      if (!Number.isFinite(high) || high === null) return [0, 1];
      const from = zeroY ? Math.min(0, low) : low, room = (high - from || Math.abs(high) || 1) * 0.06;
      return [zeroY ? from : from - room, high + room];
    };
    const single = series.length === 1;
    const hover = (u) => {
      if (!single) return;
      const k = u.cursor.idx, x = k === null || k === undefined ? null : u.data[0][k];
      if (x === null || x === undefined) { if (this.hovers) card.note.textContent = this.text || ""; this.hovers = false; return; }
      if (!this.hovers) this.text = card.note.textContent;
      this.hovers = true;
      const at = time ? `${clock(x)} UTC` : `${xLabel} ${short(+(x + (this.shift || 0)).toPrecision(6))}`;
      card.note.textContent = `${at}: ${short(u.data[1][k])} ${yLabel}`;
    };
    const options = {
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      width: 100, height, padding: [6, 10, 0, 0],
      bands: bands.map(({ series: [high, low], color }) => ({ series: [high, low], fill: css(color) + "33" })),
      legend: { show: legend && !single, live: true },
      hooks: { setCursor: [hover] },
      cursor: { points: { size: 5 }, drag: { x: true, y: false } },
      scales: { x: { time, distr: logX ? 3 : 1, range: (u, low, high) => (Number.isFinite(low) ? [low, high > low ? high : low + 1] : [0.1, 1]) }, y: { distr: logY ? 3 : 1, range } },
      axes: [
        { ...axisOf(time ? undefined : xLabel, logX, true), values: (u, v) => v.map((x) => (x === null ? "" : time ? clock(x, u.scales.x.max - u.scales.x.min > 300 ? 5 : 8) : short(x))), ...(integers ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] } : {}), space: (time ? 70 : 45) * FONT / 11 },
        { ...axisOf(yLabel, logY, false), size: WALL ? 72 : 46, values: (u, v) => v.map((y) => (y === null ? "" : short(y))) },
      ],
      series: [{ label: xLabel, value: (u, v) => (time ? v && clock(v) : short(v)) }, ...series.map((s) => ({
        label: s.label, stroke: css(s.color), width: s.width || 1.5, dash: s.dash,
        fill: s.fill ? css(s.color) + "22" : undefined, paths: steps ? stepped : undefined,
        points: { show: false }, spanGaps: true, value: (u, v) => short(v),
      }))],
    };
    this.plot = new uPlot(options, [[], ...series.map(() => [])], card.body);
    card.body.plot = this;
    observer.observe(card.body);
    PLOTS.add(this);
    this.zoomed = false;
    this.plot.over.addEventListener("dblclick", () => { this.zoomed = false; });
    this.plot.over.addEventListener("mouseup", () => { setTimeout(() => { this.zoomed = this.plot.select.width === 0 && this.isZoomed(); }, 50); });
  }

  isZoomed() {
    const { min, max } = this.plot.scales.x, x = this.plot.data[0];
    return x.length > 0 && (min > x[0] || max < x[x.length - 1]);
  }

  note(text) {
    if (this.hovers) this.text = text;
    else this.card.note.textContent = text;
  }

  set(data, shift = 0) {
    this.shift = shift;
    if (this.logX && data[0][0] <= 0) data = [[data[0][1] / 2, ...data[0].slice(1)], ...data.slice(1)];  // a bin of zeros
    const clean = this.logY ? [data[0], ...data.slice(1).map((y) => Array.from(y, (v) => (v > 0 ? v : null)))] : data;
    this.plot.setData(clean, !this.zoomed);
    if (this.zoomed) this.plot.redraw();
    this.card.body.dataset.sum = String(data.slice(1).reduce((t, y) => t + Array.from(y).reduce((a, b) => a + (b || 0), 0), 0));
  }

  resize() {
    const width = Math.floor(this.card.body.clientWidth);
    if (width > 50 && width !== this.plot.width) this.plot.setSize({ width, height: this.height });
  }

  close() {
    observer.unobserve(this.card.body);
    this.plot.destroy();
  }

  canvas() { return this.plot.ctx.canvas; }
}

// Bins of a histogram: empty ends are left out, and neighbours joined until there are few enough.
export function binning(edges, counts, most = 160, from = null, all = true) {
  let last = counts.length - 1, first = 0;
  const seen = from || [counts];
  const filled = (k) => seen.some((c) => c[k]);
  if (!all && counts.length > 100) {  // on a linear scale, the last per mille is not seen
    const total = counts.reduce((a, b) => a + b, 0);
    for (let tail = counts[last]; last > 40 && tail < 0.001 * total; tail += counts[last]) last--;
  }
  while (last > 8 && !filled(last)) last--;
  while (first < last - 8 && !filled(first)) first++;
  if (first < (last - first) * 0.3) first = 0;
  const group = Math.ceil((last - first + 1) / most);
  const x = [];
  for (let k = first; k <= last; k += group) x.push(edges[k]);
  x.push(edges[Math.min(first + x.length * group, counts.length)]);
  const join = (values) => {
    const y = [];
    for (let k = first; k <= last; k += group) {
      let sum = 0;
      for (let j = k; j < Math.min(k + group, values.length); j++) sum += values[j];
      y.push(sum);
    }
    return y;
  };
  return { x, join, group };
}

// Integers are at the middle of their bins.
export const shiftOf = (axis, x) => (axis.regular && axis.edges[1] - axis.edges[0] === 1 && x[1] - x[0] === 1 ? 0.5 : 0);

// The part of a map that holds anything, with a bin around it: [first x, last x, first y, last y].
export function filledPart(values, nx, ny) {
  let [x0, x1, y0, y1] = [nx, -1, ny, -1];
  for (let i = 0; i < nx; i++) for (let j = 0; j < ny; j++) if (values[i * ny + j] > 0) {
    x0 = Math.min(x0, i); x1 = Math.max(x1, i); y0 = Math.min(y0, j); y1 = Math.max(y1, j);
  }
  return x1 < 0 ? [0, nx - 1, 0, ny - 1] : [x0, x1, y0, y1];
}

export function crop(values, ny, [x0, x1, y0, y1]) {
  const made = new Float64Array((x1 - x0 + 1) * (y1 - y0 + 1));
  for (let i = x0; i <= x1; i++) for (let j = y0; j <= y1; j++) made[(i - x0) * (y1 - y0 + 1) + j - y0] = values[i * ny + j];
  return made;
}

// Values at the left edges of bins, and the last one again at the right end: what steps need.
export const asSteps = (y) => [...y, y[y.length - 1]];

const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
const DIVERGING = [[33, 102, 172], [103, 169, 207], [209, 229, 240], [247, 247, 247], [253, 219, 199], [239, 138, 98], [178, 24, 43]];

function colour(scale, t) {
  const at = Math.max(0, Math.min(1, t)) * (scale.length - 1), k = Math.min(Math.floor(at), scale.length - 2), f = at - k;
  return scale[k].map((c, i) => Math.round(c + f * (scale[k + 1][i] - c)));
}

const place = (edges, value) => (value - edges[0]) / (edges[edges.length - 1] - edges[0]);
function nice(edges) {
  const low = edges[0], span = edges[edges.length - 1] - low, rough = span / 6, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= rough), ticks = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= low + span + 1e-9 * span; v += step) ticks.push(+v.toFixed(9));
  return ticks;
}

// A map: x horizontally, y upwards; values[x * ny + y]; NaN is left blank.
export class MapPlot {
  constructor(card, { xLabel, yLabel, xEdges, yEdges, diverging = false, unit = "" }) {
    Object.assign(this, { card, xLabel, yLabel, xEdges, yEdges, diverging, unit });
    this.node = element("canvas", { class: "map", role: "img", "aria-label": `${card.node.querySelector("h2").textContent}` });
    card.body.append(this.node);
    card.body.plot = this;
    observer.observe(card.body);
    PLOTS.add(this);
    this.node.addEventListener("mousemove", (e) => this.point(e));
    this.node.addEventListener("mouseleave", () => { card.note.textContent = this.text || ""; });
  }

  set(values, low, high, text = "") {
    Object.assign(this, { values, low, high, text });
    this.card.note.textContent = text;
    this.card.body.dataset.sum = String(Array.from(values).reduce((a, b) => a + (b || 0), 0));
    this.draw();
  }

  resize() { this.draw(); }

  draw() {
    const width = Math.floor(this.card.body.clientWidth);
    if (!this.values || width < 50) return;
    const height = Math.round(Math.min(Math.max(width * 0.62, 180), WALL ? 760 : 420)), ratio = devicePixelRatio || 1;
    this.node.width = width * ratio;
    this.node.height = height * ratio;
    this.node.style.width = `${width}px`;
    this.node.style.height = `${height}px`;
    const c = this.node.getContext("2d");
    c.scale(ratio, ratio);
    const box = { left: 4 * FONT + 2, top: 6, width: width - 10 * FONT - 2, height: height - 6 - 3.5 * FONT };
    this.box = box;
    const nx = this.xEdges.length - 1, ny = this.yEdges.length - 1;
    const image = new ImageData(nx, ny), scale = this.diverging ? DIVERGING : VIRIDIS;
    const span = this.high - this.low || 1;
    for (let i = 0; i < nx; i++) for (let j = 0; j < ny; j++) {
      const v = this.values[i * ny + j], at = 4 * ((ny - 1 - j) * nx + i);
      if (Number.isNaN(v) || (!this.diverging && v === 0)) continue;
      const [r, g, b] = colour(scale, (v - this.low) / span);
      image.data.set([r, g, b, 255], at);
    }
    const small = document.createElement("canvas");
    small.width = nx;
    small.height = ny;
    small.getContext("2d").putImageData(image, 0, 0);
    c.imageSmoothingEnabled = false;
    c.fillStyle = css("--plot-empty");
    c.fillRect(box.left, box.top, box.width, box.height);
    c.drawImage(small, box.left, box.top, box.width, box.height);
    c.strokeStyle = css("--grid");
    c.strokeRect(box.left + 0.5, box.top + 0.5, box.width - 1, box.height - 1);
    c.font = `${FONT}px ${css("--font")}`;
    c.fillStyle = css("--text-dim");
    c.textAlign = "center";
    for (const x of nice(this.xEdges)) c.fillText(short(x), box.left + place(this.xEdges, x) * box.width, box.top + box.height + 1.3 * FONT);
    c.fillText(this.xLabel, box.left + box.width / 2, box.top + box.height + 2.8 * FONT);
    c.textAlign = "right";
    for (const y of nice(this.yEdges)) c.fillText(short(y), box.left - 5, box.top + (1 - place(this.yEdges, y)) * box.height + 4);
    c.save();
    c.translate(FONT, box.top + box.height / 2);
    c.rotate(-Math.PI / 2);
    c.textAlign = "center";
    c.fillText(this.yLabel, 0, 0);
    c.restore();
    for (let k = 0; k < box.height; k++) {
      const [r, g, b] = colour(scale, 1 - k / box.height);
      c.fillStyle = `rgb(${r},${g},${b})`;
      c.fillRect(box.left + box.width + 12, box.top + k, 10, 1.5);
    }
    c.fillStyle = css("--text-dim");
    c.textAlign = "left";
    for (const f of [0, 0.5, 1]) c.fillText(short(+(this.low + f * span).toPrecision(3)), box.left + box.width + 26, box.top + (1 - f) * (box.height - 9) + 9);
  }

  point(event) {
    if (!this.values || !this.box) return;
    const at = this.node.getBoundingClientRect(), nx = this.xEdges.length - 1, ny = this.yEdges.length - 1;
    const i = Math.floor((event.clientX - at.left - this.box.left) / this.box.width * nx);
    const j = ny - 1 - Math.floor((event.clientY - at.top - this.box.top) / this.box.height * ny);
    if (i < 0 || j < 0 || i >= nx || j >= ny) return;
    const middle = (e, k) => short(+((e[k] + e[k + 1]) / 2).toFixed(3));
    this.card.note.textContent = `${this.xLabel} ${middle(this.xEdges, i)}, ${this.yLabel} ${middle(this.yEdges, j)}: ${short(this.values[i * ny + j])}${this.unit}`;
  }

  close() { observer.unobserve(this.card.body); }

  canvas() { return this.node; }
}
