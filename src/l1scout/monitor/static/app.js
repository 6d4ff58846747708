// The page: what is shown follows from its address; every change is written back to it.
import { Connection, describe, fetchFrame } from "./frame.js";
import { clock, element, forgetPlots } from "./plots.js";
import { VIEWS, percent } from "./views.js";

const $ = (id) => document.getElementById(id);
const NAMES = Object.keys(VIEWS), MAX_PNG = 8;
const DEFAULTS = { view: "overview", stream: "", window: "run", a: "current", reference: "", log: "", theme: "" };
const state = { ...DEFAULTS };
const context = { described: null, reference: null, log: false };
let view = null, latest = null, shownKey = "", referenceKey = "", staleTimer = 0;

function readAddress() {
  const query = new URLSearchParams(location.search);
  for (const name of Object.keys(DEFAULTS)) state[name] = query.get(name) ?? DEFAULTS[name];
  if (!NAMES.includes(state.view)) state.view = "overview";
  if (!["run", "last"].includes(state.window)) state.window = "run";
  if (!["", "light", "dark"].includes(state.theme)) state.theme = "";
}

function set(changes) {
  const before = state.view;
  Object.assign(state, changes);
  const query = new URLSearchParams(Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]));
  const address = query.size ? `?${query}` : location.pathname;
  if (state.view !== before) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  show();
}

const usesSaved = () => state.view === "compare" && state.a !== "current";

function show() {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  context.log = state.log === "1";
  $("log").checked = context.log;
  $("window").value = state.window;
  for (const link of $("views").children) {
    if (link.dataset.view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const uses = VIEWS[state.view].uses;
  for (const tool of ["stream", "window", "a", "reference"]) $(`${tool}-tool`).hidden = !uses.includes(tool);
  $("log").parentElement.hidden = !uses.includes("log");
  $("downloads").hidden = !uses.includes("downloads");
  $("tools").hidden = !uses.length;
  document.title = `${VIEWS[state.view].title} – l1scout monitor`;
  rebuild();
  if (usesSaved()) {
    const { view: name, stream, a } = state;
    fetchFrame({ view: name, stream, run: a }).then(take).catch(fail);
  }
  connection.watch({ view: state.view, stream: state.view === "history" ? "" : state.stream, window: state.window });
}

function rebuild() {
  shownKey = "";
  latest = null;
  forgetPlots();
  $("main").replaceChildren(element("p", { class: "empty" }, "Waiting for data."));
  view = null;
}

async function loadReference(stream) {
  const key = state.reference && VIEWS[state.view].uses.includes("reference") ? `${state.reference} ${state.view} ${stream}` : "";
  if (key === referenceKey) return;
  referenceKey = key;
  context.reference = key ? await fetchFrame({ view: state.view, stream, run: state.reference }) : null;
  shownKey = "";
}

async function take(frame) {
  if (frame.head.view !== state.view) return;
  if (usesSaved() && !frame.head.name) { header(frame.head); return; }
  header(frame.head);
  latest = frame;
  const { stream } = frame.head;
  try {
    context.described = stream ? await describe(stream) : null;
    await loadReference(stream);
  } catch (error) { fail(error); return; }
  if (latest !== frame || frame.head.view !== state.view) return;
  if (!stream && VIEWS[state.view].uses.includes("stream")) {
    if (shownKey !== "none") rebuild();
    shownKey = "none";
    $("main").replaceChildren(element("div", { class: "empty" }, element("h2", {}, "Waiting for the first data"), element("p", {}, state.stream ? `No objects of the stream ${state.stream} so far.` : "Plots appear as soon as orbits are read.")));
    return;
  }
  const key = JSON.stringify([state.view, stream, state.window, context.log, referenceKey, state.a]);
  if (key !== shownKey) {
    forgetPlots();
    $("main").replaceChildren();
    view = Object.create(VIEWS[state.view]);
    view.build($("main"), context);
    shownKey = key;
  }
  view.update(frame);
  document.body.dataset.frames = String(1 + Number(document.body.dataset.frames || 0));
}

function fail(error) {
  referenceKey = "failed";
  context.reference = null;
  $("main").replaceChildren(element("div", { class: "empty" }, element("h2", {}, "This cannot be shown"), element("p", {}, error.message)));
}

function badge(id, text, kind = "") {
  $(id).hidden = !text;
  $(id).textContent = text;
  $(id).className = `badge ${kind}`;
}

function options(select, values, chosen, labels = {}) {
  const key = JSON.stringify([values, chosen, labels]);
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  select.replaceChildren(...values.map((v) => element("option", { value: v }, labels[v] ?? v)));
  select.value = chosen;
}

function header(head) {
  if (!head.name) {
    $("run").textContent = head.run === null ? "no run yet" : head.run ? `run ${head.run}` : "run unknown";
    badge("data", { simulated: "simulation", real: "data", unknown: head.run === null ? "" : "origin unknown" }[head.data], head.data === "simulated" ? "simulated" : "");
    badge("state", head.chain ? head.chain.state : "", head.chain && head.chain.state === "error" ? "bad" : "");
    const alarms = (head.chain ? head.chain.alarms.length : 0) + (head.faults || []).length + (head.alarms || []).length;
    badge("alarm-count", alarms ? `${alarms} alarm${alarms > 1 ? "s" : ""}` : "", "bad");
    const none = { "": "none", current: "current run" };
    options($("reference"), ["", ...(head.runs || [])], state.reference, none);
    options($("a"), ["current", ...(head.runs || [])], state.a, none);
    $("newest").textContent = head.newest_orbit >= 0 ? `newest orbit ${head.newest_orbit.toLocaleString("en")}${head.seen_fraction === null ? "" : `, ${percent(head.seen_fraction)} of the orbits since the first were read`}` : "";
    document.body.dataset.orbit = String(head.newest_orbit);
  }
  options($("stream"), head.streams.length ? head.streams : [""], head.stream || (head.streams[0] ?? ""), { "": "none yet" });
  $("updated").textContent = `updated ${clock(head.time)} UTC`;
}

const connection = new Connection((frame) => {
  clearTimeout(staleTimer);
  staleTimer = setTimeout(() => badge("connection", "no news", "bad"), 5000);
  take(frame);
}, (now) => badge("connection", now === "live" ? "live" : "not connected", now === "live" ? "good" : "bad"));

function save(canvas, name) {
  const made = document.createElement("canvas"), head = 34 * (devicePixelRatio || 1);
  made.width = canvas.width;
  made.height = canvas.height + head;
  const c = made.getContext("2d"), style = getComputedStyle(document.documentElement);
  c.fillStyle = style.getPropertyValue("--card");
  c.fillRect(0, 0, made.width, made.height);
  c.fillStyle = style.getPropertyValue("--text");
  c.font = `${14 * (devicePixelRatio || 1)}px sans-serif`;
  c.fillText([$("run").textContent, $("data").textContent, name].filter(Boolean).join("  ·  "), 10, head * 0.65);
  c.drawImage(canvas, 0, head);
  made.toBlob((blob) => {
    const link = element("a", { href: URL.createObjectURL(blob), download: `l1scout-${name.replace(/[^A-Za-z0-9]+/g, "-")}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

function fillDownloads() {
  const run = usesSaved() ? state.a : "current", stream = latest ? latest.head.stream : "";
  const link = (format, text, more = {}) => element("a", { href: `/api/download?${new URLSearchParams({ format, run, ...more })}`, download: "" }, text);
  const rows = [link("root", "ROOT, all histograms"), link("json", "JSON, all histograms of the stream", { stream })];
  for (const card of document.querySelectorAll("section.card")) {
    const plot = card.querySelector(".plot").plot, title = card.querySelector("h2 span").textContent;
    if (!plot || !plot.canvas || card.hidden) continue;
    rows.push(element("button", { type: "button", onclick: () => save(plot.canvas(), title) }, `PNG, ${title}`));
  }
  if (view && view.cards && stream) {
    const cards = view.cards instanceof Map ? view.cards.values() : Object.values(view.cards);
    for (const card of cards) if (card.download) rows.push(link("csv", `CSV, ${card.node.querySelector("h2 span").textContent}`, card.download));
  }
  $("download-links").replaceChildren(...rows.slice(0, 4 * MAX_PNG));
}

const next = (values, value, step = 1) => values[(values.indexOf(value) + step + values.length) % values.length];
const KEYS = {
  ArrowRight: () => set({ view: next(NAMES, state.view) }),
  ArrowLeft: () => set({ view: next(NAMES, state.view, -1) }),
  l: () => set({ log: context.log ? "" : "1" }),
  w: () => set({ window: state.window === "run" ? "last" : "run" }),
  t: () => set({ theme: next(["", "dark", "light"], state.theme) }),
  s: () => { if (latest && latest.head.streams.length) set({ stream: next(latest.head.streams, latest.head.stream) }); },
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName) || $("keys").open) return;
  const number = Number(event.key);
  if (number >= 1 && number <= NAMES.length) set({ view: NAMES[number - 1] });
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});
NAMES.forEach((name, k) => {
  const link = element("a", { href: `?view=${name}`, title: `${VIEWS[name].title} (${k + 1})`, onclick: (e) => { if (!e.ctrlKey && !e.metaKey) { e.preventDefault(); set({ view: name }); } } }, VIEWS[name].title);
  link.dataset.view = name;
  $("views").append(link);
});
for (const name of ["stream", "window", "a", "reference"]) $(name).addEventListener("change", () => { set({ [name]: $(name).value }); $(name).blur(); });
$("log").addEventListener("change", () => { set({ log: $("log").checked ? "1" : "" }); $("log").blur(); });
$("theme").addEventListener("click", KEYS.t);
$("help").addEventListener("click", KEYS["?"]);
$("downloads").addEventListener("toggle", () => { if ($("downloads").open) fillDownloads(); });
document.addEventListener("click", (event) => { if (!$("downloads").contains(event.target)) $("downloads").open = false; });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { shownKey = ""; });
addEventListener("popstate", () => { readAddress(); show(); });
readAddress();
show();
