// The panel: shows what /api/v1/status says, once a second, as /api/v1/events sends it. Read only. Text reaches
// the page as text nodes alone, style as classes and attributes of SVG: the policy of its server allows no more.
"use strict";

// ---- Words and numbers.

const kUnits = [["s", 1], ["ms", 1e-3], ["us", 1e-6], ["ns", 1e-9], ["ps", 1e-12]];
const known = (value) => value !== null && value !== undefined;
const if_known = (value, text) => known(value) ? text(value) : null;
const unit_of = (value) => kUnits.find(([, scale]) => Math.abs(value) >= 0.9995 * scale) ?? kUnits.at(-1);

// A duration as physicists write it. `up`: a bound, never made smaller by rounding. `to`: what it is uncertain by.
function seconds(value, {up = false, to = null} = {}) {
  if (!known(value)) return "unknown";
  if (value === 0) return "0 s";
  const [unit, scale] = unit_of(value);
  const number = value / scale;
  let decimals = Math.max(0, 2 - Math.floor(Math.log10(Math.max(1, Math.abs(number)))));
  if (to) decimals = Math.min(9, Math.max(0, -Math.floor(Math.log10(to / scale))));
  const grain = 10 ** decimals;
  return (up ? Math.ceil(number * grain - 1e-6) / grain : number).toFixed(decimals) + " " + unit;
}

// A duration as people say it.
function span(s) {
  if (!known(s)) return "unknown";
  const [days, hours, minutes] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (s >= 3600) return `${hours} h ${String(minutes).padStart(2, "0")} min`;
  if (s >= 60) return `${minutes} min ${String(Math.floor(s) % 60).padStart(2, "0")} s`;
  return `${Math.floor(s)} s`;
}

function count(value) {
  if (!known(value)) return "unknown";
  const whole = value >= 100 || Number.isInteger(value);
  return value.toLocaleString("en", {maximumFractionDigits: whole ? 0 : 1, minimumFractionDigits: whole ? 0 : 1});
}

const bytes = (value) => !known(value) ? "unknown" : value < 1e6 ? `${count(value / 1e3)} kB` :
    value < 1e9 ? `${count(value / 1e6)} MB` : `${count(value / 1e9)} GB`;
const clock_of = (t, from = 11, to = 19) => new Date(t * 1000).toISOString().slice(from, to);
const listed = (...parts) => parts.filter(Boolean).join(", ");
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const words = (name) => String(name).replaceAll("_", " ");

// ---- The page.

const $ = (id) => document.getElementById(id);

// Children are nodes, or text.
function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const element = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);
const drawn = (name, attributes = {}, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

// What has not changed is left alone: a reader may be selecting it.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// [[term, text, needs attention?]] into a <dl>; what is not known is left out.
function facts(list, rows) {
  rows = rows.filter(([, text]) => known(text));
  const terms = [...list.querySelectorAll("dt")];
  if (terms.length !== rows.length || terms.some((node, i) => node.textContent !== rows[i][0])) {
    list.replaceChildren(...rows.map(([term]) => element("div", {}, element("dt", {}, term), element("dd"))));
  }
  [...list.querySelectorAll("dd")].forEach((node, i) => {
    say(node, rows[i][1]);
    node.classList.toggle("attention", Boolean(rows[i][2]));
  });
  list.hidden = rows.length === 0;
}

// Shows a section if there is anything to show.
function shown(id, data) {
  $(id).hidden = !data;
  return Boolean(data);
}

// ---- Is the time right?

const kSigns = {good: "M4 13l5 5L20 6", warn: "M12 3L22 20H2zM12 10v4M12 17v.1", bad: "M5 5l14 14M19 5L5 19",
                none: "M12 3a9 9 0 1 0 .1 0M12 7v5l3 2"};
const kMarks = {good: "✓", warn: "!", bad: "✗"};  // in the browser's tab
const kLeaps = ["none", "a second will be inserted", "a second will be left out", "unknown"];
// Why it is not served as synchronised, by the discipline's state.
const kWaiting = {
  COLD: "Nothing has come from the reference clocks yet.",
  WARMUP: "The rubidium is warming up, and no second has a number yet.",
  NUMBERING: "Pulses come; which second they mark is not known yet.",
  ACQUIRE: "The time is known, but not closely enough yet.",
  FREERUN: "The time has been without GNSS for so long that its error bound is above the limit.",
};

// {level, text, detail}
function verdict_of({time}) {
  const bound = if_known(time.error_bound_s, (b) => seconds(b, {up: true}));
  const within = bound ? `within ${bound}` : "error unknown";
  const reference = time.reference_id || "an unnamed reference";
  const served = `Served at stratum ${time.stratum}.`;
  if (!time.synchronised) {
    const why = kWaiting[time.state] ?? (time.state ? "A leap second may be near." :
                                         "The kernel's clock is not synchronised.");
    return {level: "bad", text: "NOT SYNCHRONISED: clients are told to stay away",
            detail: bound ? `${why} Error bound ${bound}.` : why};
  }
  if (time.state === "HOLDOVER") {
    const left = if_known(time.holdover_remaining_s, (s) => `${span(s)} left`);
    return {level: "warn", text: `Holdover: ${listed(within, left)}`,
            detail: `Without GNSS for ${span(time.holdover_s)}; the time is right, and its bound grows. ${served}`};
  }
  const degraded = (time.flags ?? []).includes("degraded");
  const how = time.state ? `${time.state} to ${reference}${degraded ? ", DEGRADED" : ""}` : `reference ${reference}`;
  return {level: degraded ? "warn" : "good", text: `Time is right: ${within}, ${how}`,
          detail: degraded ? `No rubidium is in use: an outage of GNSS would be bridged badly. ${served}` : served};
}

let last_announced = null;

// Aloud only when the answer has become another, and not with each new bound.
function announce(kind, text) {
  if (kind === last_announced) return;
  last_announced = kind;
  say($("announcer"), text);
}

function show_verdict({level, text, detail}) {
  $("verdict").className = `level-${level}`;
  $("verdict-sign").firstElementChild.setAttribute("d", kSigns[level]);
  say($("verdict-text"), text);
  say($("verdict-detail"), detail);
}

function show_alarms(alarms) {
  $("alarms").hidden = false;
  $("no-alarms").hidden = alarms.length > 0;
  $("alarms").classList.toggle("calm", alarms.length === 0);
  const list = $("alarm-list");
  const names = alarms.map((a) => `${a.name} ${a.severity}`).join();
  if (list.dataset.names !== names) {
    list.dataset.names = names;
    list.replaceChildren(...alarms.map(alarm_item));
  }
  [...list.querySelectorAll(".since")].forEach((node, i) => say(node, `for ${span(alarms[i].for_s)}`));
}

function alarm_item({name, severity, since, meaning, action, runbook}) {
  const begun = element("span", {class: "since faint", title: since ? `since ${since}` : ""});
  return element("li", {class: severity},
      element("p", {class: "title"}, element("span", {class: "severity"}, severity), element("b", {}, name), begun),
      element("p", {}, meaning), element("p", {class: "action"}, action),
      element("p", {class: "faint"}, `Runbook: ${runbook}`));
}

function show_time({time}) {
  const bound = time.error_bound_s;
  shown("time", true);
  facts($("time-facts"), [
    ["State", time.state],
    ["In it for", time.state && span(time.state_s)],
    ["Flags", time.flags?.length ? time.flags.map(words).join(", ") : null, true],
    ["Error bound", seconds(bound, {up: true})],
    ["UTC minus kernel clock", seconds(time.offset_s, {to: bound})],
    ["Reference", time.reference_id || "none"],
    ["Heard from it", known(time.reference_age_s) ? `${span(time.reference_age_s)} ago` : "never"],
    ["Stratum", String(time.stratum)],
    ["Leap second", kLeaps[time.leap] ?? "unknown", time.leap === 3],
    ["Root delay", seconds(time.root_delay_s)],
    ["Root dispersion", seconds(time.root_dispersion_s, {up: true})],
  ]);
}

// ---- Plots over time.

const kCourse = 21600, kFine = 600;  // seconds: of points as the history has them, and of those of each second
const kHeight = 158, kTop = 8, kBottom = 24, kRight = 10;

// ahead: UTC minus the page's own clock, seconds; while the server does not know UTC it goes on from there.
const course = {step: 10, points: [], cursor: null, range: kCourse, ahead: performance.timeOrigin / 1000};

function decade_ticks(least, most) {
  const steps = [];
  for (let e = Math.floor(Math.log10(least)); e <= Math.ceil(Math.log10(most)) + 1; ++e) {
    for (const m of [1, 2, 5]) steps.push(Number(`${m}e${e}`));
  }
  const first = steps.findLastIndex((s) => s <= least), end = steps.findIndex((s) => s >= most && s > least);
  const ticks = steps.slice(Math.max(0, first), end + 1);
  const decades = ticks.filter((t) => Number.isInteger(Math.round(Math.log10(t) * 1e6) / 1e6));
  const labelled = ticks.length <= 6 ? ticks : decades.filter((_, i) => i % Math.ceil(decades.length / 6) === 0);
  return {low: ticks[0], high: ticks.at(-1), labelled};
}

function linear_ticks(least, most) {
  const rough = (most - least) / 3;
  const decade = 10 ** Math.floor(Math.log10(rough));
  const step = decade * [1, 2, 5, 10].find((m) => m * decade >= rough * 0.999);
  const from = Math.floor(least / step + 1e-6), to = Math.ceil(most / step - 1e-6);
  const labelled = Array.from({length: to - from + 1}, (_, i) => (from + i) * step);
  return {low: labelled[0], high: labelled.at(-1), labelled, step};
}

// On a linear scale all in one unit, with as many decimals as the step needs.
function second_labels({labelled, step}) {
  return labelled.map((tick) => {
    const [unit, scale] = unit_of(step ? Math.max(...labelled.map(Math.abs)) : tick);
    const decimals = step ? Math.max(0, -Math.floor(Math.log10(step / scale) + 1e-6)) : 0;
    return `${(tick / scale).toFixed(decimals)} ${unit}`;
  });
}

const count_labels = ({labelled}) => labelled.map(count);
const is_shaded = ({state}) => known(state) && state !== "LOCKED";

class Plot {
  // key: of the points; text(value, point): for the reader; labels(ticks): of the axis; floor: where it begins.
  constructor(host, {key, title, text, labels = count_labels, logarithmic = false, floor = null}) {
    Object.assign(this, {host, key, text, labels, logarithmic, floor});
    this.readout = element("span");
    this.svg = drawn("svg", {class: "plot", height: kHeight, tabindex: 0, role: "slider", "aria-valuemin": 0,
                             "aria-label": `${title}: arrow keys read it`});
    const caption = element("figcaption", {}, element("span", {class: "faint"}, title), this.readout);
    host.append(element("figure", {}, caption, this.svg));
    for (const event of ["pointermove", "pointerdown"]) this.svg.addEventListener(event, (e) => this.point_at(e));
    for (const event of ["pointerleave", "blur"]) this.svg.addEventListener(event, () => set_cursor(null));
    this.svg.addEventListener("keydown", (e) => this.key_pressed(e));
  }

  // The points in range, the scale's ends and labels; how wide these are.
  measure() {
    this.width = this.svg.clientWidth;
    const all = course.points;
    this.now = all.at(-1)?.t ?? 0;
    this.from = Math.max(this.now - course.range, Math.min(all[0]?.t ?? 0, this.now - 120));
    this.points = all.filter((p) => p.t >= this.from && p.t <= this.now);
    const values = this.points.filter((p) => this.has(p)).map((p) => p[this.key]);
    this.ticks = null;
    if (!this.width || values.length === 0) return 0;
    let least = Math.min(...values), most = Math.max(...values);
    if (known(this.floor)) [least, most] = [this.floor, Math.max(most, this.floor + 1)];
    if (!this.logarithmic && most - least < 1e-10) [least, most] = [least - 1e-9, most + 1e-9];
    this.ticks = this.logarithmic ? decade_ticks(least, most) : linear_ticks(least, most);
    this.texts = this.labels(this.ticks);
    return 14 + 7.2 * Math.max(...this.texts.map((t) => t.length));
  }

  paint(left) {
    this.svg.setAttribute("viewBox", `0 0 ${this.width || 1} ${kHeight}`);
    this.left = left;
    this.cursor = drawn("g");
    const drawing = !this.ticks ? [drawn("text", {x: 12, y: kHeight / 2}, "no data yet")] :
        [...this.shades(), ...this.axes(), drawn("path", {class: "series", d: this.line()})];
    this.svg.replaceChildren(...drawing, this.cursor);
    this.draw_cursor();
  }

  has(point) {
    return known(point[this.key]) && (!this.logarithmic || point[this.key] > 0);
  }

  x(t) {
    return this.left + (t - this.from) / (this.now - this.from) * (this.width - kRight - this.left);
  }

  y(value) {
    const [v, low, high] = [value, this.ticks.low, this.ticks.high].map(this.logarithmic ? Math.log10 : Number);
    return kHeight - kBottom - (v - low) / (high - low) * (kHeight - kBottom - kTop);
  }

  axes() {
    const nodes = this.ticks.labelled.flatMap((tick, i) => [
      drawn("path", {class: "grid", d: `M${this.left} ${this.y(tick).toFixed(1)}H${this.width - kRight}`}),
      drawn("text", {x: this.left - 8, y: this.y(tick) + 4, "text-anchor": "end"}, this.texts[i])]);
    const room = Math.max(2, (this.width - this.left) / 56);
    const step = [60, 120, 300, 600, 900, 1800, 3600, 7200].find((s) => (this.now - this.from) / s <= room) ?? 14400;
    for (let t = Math.ceil(this.from / step) * step; t <= this.now; t += step) {
      const x = this.x(t);
      nodes.push(drawn("path", {class: "grid", d: `M${x.toFixed(1)} ${kHeight - kBottom}v4`}));
      if (x > this.width - 24) continue;
      nodes.push(drawn("text", {x, y: kHeight - 6, "text-anchor": "middle"}, clock_of(t, 11, 16)));
    }
    return nodes;
  }

  is_gap(i) {
    return i === 0 || this.points[i].t - this.points[i - 1].t > 2.5 * course.step;
  }

  // Neighbours joined; a gap where there is no value; a point alone is a dot.
  line() {
    let path = "", down = false;
    this.points.forEach((p, i) => {
      const joined = down && !this.is_gap(i);
      down = this.has(p);
      const [x, y] = down ? [this.x(p.t).toFixed(1), this.y(p[this.key]).toFixed(1)] : [];
      if (down) path += joined ? `L${x} ${y}` : `M${x} ${y}h0`;
    });
    return path;
  }

  // Behind the times that were not LOCKED.
  shades() {
    const runs = [];
    this.points.forEach((p, i) => {
      if (!is_shaded(p)) return;
      const end = Math.min(p.t + course.step, this.now);
      if (runs.length && !this.is_gap(i) && runs.at(-1)[1] >= p.t) runs.at(-1)[1] = end;
      else runs.push([p.t, end]);
    });
    return runs.map(([from, to]) => drawn("rect", {class: "shade", x: this.x(from), y: kTop,
        width: Math.max(2, this.x(to) - this.x(from)), height: kHeight - kBottom - kTop}));
  }

  draw_cursor() {
    if (!this.points?.length) return;
    const i = course.cursor === null ? this.points.length - 1 : nearest(this.points, course.cursor);
    const point = this.points[i], value = point[this.key];
    const reading = known(value) ? this.text(value, point) : "no value";
    say(this.readout, `${clock_of(point.t)} UTC  ${reading}${is_shaded(point) ? `  ${point.state}` : ""}`);
    this.svg.setAttribute("aria-valuemax", this.points.length - 1);
    this.svg.setAttribute("aria-valuenow", i);
    this.svg.setAttribute("aria-valuetext", this.readout.textContent);
    if (!this.ticks) return;
    const x = this.x(point.t).toFixed(1);
    this.cursor.replaceChildren();
    const upright = drawn("path", {class: "cursor", d: `M${x} ${kTop}V${kHeight - kBottom}`});
    if (course.cursor !== null) this.cursor.append(upright);
    if (this.has(point)) this.cursor.append(drawn("circle", {class: "dot", cx: x, cy: this.y(value), r: 4}));
  }

  point_at(event) {
    if (!this.ticks) return;
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    set_cursor(this.from + (x - this.left) / (this.width - kRight - this.left) * (this.now - this.from));
  }

  key_pressed(event) {
    if (!this.points?.length) return;
    if (event.key === "Escape") return set_cursor(null);
    const last = this.points.length - 1;
    const at = course.cursor === null ? last : nearest(this.points, course.cursor);
    const to = {ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
                PageDown: at - 30, PageUp: at + 30, Home: 0, End: last}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    set_cursor(this.points[Math.max(0, Math.min(last, to))].t);
  }
}

function nearest(points, t) {
  const after = points.findIndex((p) => p.t >= t);
  if (after < 0) return points.length - 1;
  return after > 0 && t - points[after - 1].t < points[after].t - t ? after - 1 : after;
}

const per_second = (value) => `${count(value)}/s`;
const plots = [
  new Plot($("plots"), {key: "error_bound_s", title: "Error bound, logarithmic", logarithmic: true,
                        labels: second_labels, text: (v) => seconds(v, {up: true})}),
  new Plot($("plots"), {key: "offset_s", title: "UTC minus the kernel's clock",
                        labels: second_labels, text: (v, point) => seconds(v, {to: point.error_bound_s})}),
  new Plot($("rate-plots"), {key: "requests_per_s", title: "Requests per second", floor: 0, text: per_second}),
  new Plot($("rate-plots"), {key: "handshakes_per_s", title: "Handshakes per second", floor: 0, text: per_second}),
];

// One moment for all plots; null: the newest.
function set_cursor(t) {
  course.cursor = t;
  for (const plot of plots) plot.draw_cursor();
}

// Plots one above the other have one scale of time.
function draw_plots() {
  if (document.hidden) return;
  const widths = plots.map((plot) => plot.measure());
  $("shade-note").hidden = !plots[0].points.some(is_shaded);
  for (const plot of plots) plot.paint(Math.max(...widths.filter((_, i) => plots[i].host === plot.host)));
}

async function fetched(path) {
  const reply = await fetch(path);
  if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
  return reply.json();
}

async function load_history() {
  const {step_s, points} = await fetched("api/v1/history");
  Object.assign(course, {step: step_s, points});
  draw_plots();
}

function note_in_course(status) {
  const here = performance.now() / 1000;
  if (status.now) course.ahead = Date.parse(status.now.slice(0, 23) + "Z") / 1000 - here;
  const t = here + course.ahead;
  const {error_bound_s, offset_s, state} = status.time;
  const before = course.points.at(-1);
  const between = before !== undefined && Math.floor(t / course.step) === Math.floor(before.t / course.step);
  course.points.push({t, between, error_bound_s, offset_s, state, requests_per_s: status.ntp.requests_per_s,
                      handshakes_per_s: status.nts_ke?.handshakes_per_s ?? null});
  course.points = course.points.filter((p) => p.t > t - (p.between ? kFine : kCourse));
  shown("course", true);
  draw_plots();
}

// ---- Satellites.

const kSystems = {GPS: "G", GLONASS: "R", Galileo: "E", BeiDou: "C", QZSS: "J", SBAS: "S", NavIC: "I"};
const name_of = ({system, number}) => (kSystems[system] ?? "?") + String(number).padStart(2, "0");
const class_of = ({system, used}) => `satellite ${system}${used ? " used" : ""}`;

const has_place = (s) => s.elevation_deg >= 0 && known(s.elevation_deg) && known(s.azimuth_deg);

const described = (s) => `${s.system} ${s.number}: ` + listed(
    has_place(s) ? `elevation ${s.elevation_deg}, azimuth ${s.azimuth_deg} degrees` : "place unknown",
    known(s.cno_dbhz) ? `${s.cno_dbhz} dB-Hz` : "no signal", s.used ? "used" : "not used");

function draw_sky(satellites) {
  const sky = $("sky");
  const rings = [0, 30, 60].map((elevation) => drawn("circle", {class: "grid", r: 90 - elevation}));
  const compass = [["N", 0, -95], ["E", 100, 3], ["S", 0, 103], ["W", -100, 3], ["30°", 0, -51], ["60°", 0, -21]];
  const marks = satellites.filter(has_place).map((s) => {
    const azimuth = s.azimuth_deg * Math.PI / 180, r = 90 - s.elevation_deg;
    const x = (r * Math.sin(azimuth)).toFixed(1), y = (-r * Math.cos(azimuth)).toFixed(1);
    const size = 2.5 + Math.max(0, (s.cno_dbhz ?? 0) - 15) / 10;  // the stronger the larger
    return drawn("g", {class: class_of(s)}, drawn("title", {}, described(s)),
        drawn("circle", {class: "mark", cx: x, cy: y, r: size}),
        drawn("text", {class: "name", x, y: Number(y) - size - 2}, name_of(s)));
  });
  sky.replaceChildren(drawn("path", {class: "grid", d: "M-90 0H90M0 -90V90"}), ...rings,
                      ...compass.map(([text, x, y]) => drawn("text", {x, y}, text)), ...marks);
}

function satellite_item(s) {
  const length = Math.max(0.5, Math.min(53.5, s.cno_dbhz ?? 0));
  const bar = drawn("svg", {viewBox: "0 0 55 6", preserveAspectRatio: "none", "aria-hidden": "true"},
      drawn("rect", {class: "mark", x: 0.75, y: 0.75, height: 4.5, width: length}));
  const item = element("li", {class: class_of(s), title: described(s)}, element("span", {}, name_of(s)), bar,
      element("span", {}, known(s.cno_dbhz) ? String(Math.round(s.cno_dbhz)) : "-"));
  if (!s.used) item.append(element("span", {class: "unseen"}, "not used"));
  return item;
}

function show_receiver({receiver}) {
  if (!shown("receiver", receiver)) return;
  const amiss = (value, fine) => ![fine, "unknown"].includes(value);
  facts($("receiver-facts"), [
    ["Receiver", listed(receiver.kind, receiver.model)],
    ["Usable", receiver.usable ? "yes" : "no", !receiver.usable],
    ["Satellites used", if_known(receiver.satellites_used, String)],
    ["in view", if_known(receiver.satellites_in_view, String)],
    ["Its own accuracy", if_known(receiver.time_accuracy_s, (s) => seconds(s, {up: true}))],
    ["Away from its survey", if_known(receiver.position_offset_m, (m) => `${count(m)} m`)],
    ["Jamming", receiver.jamming, amiss(receiver.jamming, "none")],
    ["Spoofing", receiver.spoofing, amiss(receiver.spoofing, "none")],
    ["Antenna", receiver.antenna, amiss(receiver.antenna, "good")],
  ]);
  const satellites = [...receiver.satellites].sort((a, b) => name_of(a).localeCompare(name_of(b)));
  for (const id of ["sky", "satellites"]) $(id).toggleAttribute("hidden", satellites.length === 0);
  const now = JSON.stringify(satellites);
  if ($("sky").dataset.drawn === now) return;
  $("sky").dataset.drawn = now;
  draw_sky(satellites);
  $("satellites").replaceChildren(...satellites.map(satellite_item));
}

// ---- The rest, section by section.

const told = (value) => !known(value) ? "unknown" : typeof value === "boolean" ? (value ? "yes" : "no") :
    typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);

function show_rubidium({rubidium, pulses}) {
  if (!shown("rubidium", rubidium || pulses.length)) return;
  say($("rubidium-title"), rubidium ? "Rubidium and pulses" : "Pulses");
  facts($("rubidium-facts"), rubidium ? [
    ["Model", rubidium.model],
    ["Says it is", rubidium.identity],
    ["Locked", told(rubidium.locked), rubidium.locked === false],
    ["Phase", if_known(rubidium.phase_s, (s) => seconds(s))],
    ["Temperature", if_known(rubidium.temperature_c, (c) => `${c.toFixed(1)} °C`)],
  ] : []);
  const readings = Object.entries(rubidium?.readings ?? {}).map(([name, value]) => [words(name), told(value)]);
  if (shown("rubidium-more", readings.length)) facts($("rubidium-readings"), readings);
  facts($("pulse-facts"), pulses.map((p) => [p.device, listed(
      !p.open && "NOT OPEN", `${p.input} pulse`, `${count(p.pulses)} so far`,
      p.missed > 0 && `${count(p.missed)} missed`,
      if_known(p.width_s, (s) => `${seconds(s)} wide`)), !p.open]));
}

function show_sources({samples}) {
  if (!shown("sources", samples.length)) return;
  facts($("source-facts"), samples.map((s) => [s.device, listed(
      plural(s.samples, "sample"), `${count(s.refused)} refused`,
      if_known(s.offset_s, (offset) => `offset ${seconds(offset)}`))]));
}

// Largest first, and what never happened not at all.
const totals = (counts) => Object.entries(counts).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1])
    .map(([name, n]) => [words(name), count(n)]);

function show_service({ntp, nts_ke}) {
  shown("service", true);
  facts($("rates"), [
    ["requests/s", count(ntp.requests_per_s)],
    ["of them NTS/s", count(ntp.nts_per_s)],
    ["handshakes/s", nts_ke ? count(nts_ke.handshakes_per_s) : null],
    ["open connections", nts_ke ? count(nts_ke.open) : null],
    [`received, ${plural(ntp.shards, "shard")}, ${ntp.io}`, bytes(ntp.received_bytes)],
    ["sent", bytes(ntp.sent_bytes)],
  ]);
  $("rate-plots").lastElementChild.hidden = !nts_ke;
  facts($("verdicts"), totals(ntp.requests));
  facts($("outcomes"), totals(nts_ke?.connections ?? {}));
}

function show_latency({ntp, nts_ke}) {
  const measured = [["T3 to the wire", ntp.t3_to_wire_s], ["NTS-KE handshake", nts_ke?.handshake_s]];
  const rows = measured.filter(([, times]) => times).flatMap(([name, {p50, p99}]) =>
      [[`${name}, median`, seconds(p50)], ["99 %", seconds(p99)]]);
  if (shown("latency", rows.length)) facts($("latencies"), rows);
}

function show_keys({keys}) {
  if (!shown("keys", keys)) return;
  const {cluster, next_rotation_s: due} = keys;
  const by_role = (role) => keys.generations.filter((g) => g.role === role).map((g) => g.id).join(" ") || null;
  const rows = [
    ["Current", by_role("current") ?? "none yet"],
    ["In use for", span(keys.age_s)],
    ["Next rotation", due < 0 ? `${span(-due)} late` : `in ${span(due)}`, due < 0],
    ["Next", by_role("next")],
    ["Old, accepted", by_role("old")],
    ["Kept in", keys.provider === "file" ? keys.file || "memory only" : keys.provider],
  ];
  if (cluster) {
    const contact = cluster.in_contact ? "in contact" : "CUT OFF";
    rows.push(["Cluster", listed(cluster.name, contact, cluster.rotates && "rotates"), !cluster.in_contact]);
    rows.push(["Its keys", cluster.refused ? "REFUSED" : `accepted, number ${cluster.sequence}`, cluster.refused]);
  }
  facts($("key-facts"), rows);
}

function show_certificates({certificates}) {
  if (!shown("certificates", certificates.length)) return;
  facts($("certificate-facts"), certificates.map(({file, days_left: days, refused}) => [
    file, listed(!known(days) ? "days unknown" : days < 0 ? "EXPIRED" : `${plural(Math.floor(days), "day")} left`,
                 refused && "renewal REFUSED"), known(days) && days < 14 || refused]));
}

// ---- Configuration.

let settings = [];

async function load_settings() {
  try {
    settings = await fetched("api/v1/config");
    show_settings();
  } catch {
    say($("config-count"), "The server does not answer; open this again when it does.");
  }
}

const setting_name = ({section, index, key}) => `${section}${index ? `[${index}]` : ""}.${key}`;

function show_settings() {
  const sought = $("config-filter").value.trim().toLowerCase(), changed = $("config-changed").checked;
  const rows = settings.filter((s) => (!changed || !s.is_default) &&
      `${setting_name(s)} ${s.value} ${s.help}`.toLowerCase().includes(sought));
  $("config-rows").replaceChildren(...rows.map((s) => {
    return element("tr", s.is_default ? {} : {class: "changed"}, element("td", {}, setting_name(s)),
        element("td", {}, s.value, s.is_default ? "" : " (not the default)"),
        element("td", {}, `${s.help}${s.reloadable ? "" : "; needs a restart"}`));
  }));
  say($("config-count"), `${rows.length} of ${plural(settings.length, "setting")}`);
}

$("config-details").addEventListener("toggle", (e) => { if (e.target.open) load_settings(); });
$("config-filter").addEventListener("input", show_settings);
$("config-changed").addEventListener("change", show_settings);
$("config").querySelector("form").addEventListener("submit", (e) => e.preventDefault());
$("range").addEventListener("change", (e) => { course.range = Number(e.target.value); draw_plots(); });
document.addEventListener("visibilitychange", draw_plots);
const resized = new ResizeObserver(draw_plots);
for (const plot of plots) resized.observe(plot.svg);

// ---- The connection.

const kLost = "No connection to the server";
const kSilence = 3.5;    // seconds without a word, after which the page says so
const kGivenUp = 12;     // and after which another connection is tried
const kReconnect = 1000; // ms

let heard = null;        // performance.now() of the last status, and that
let said = null;
let stream = null;

function show(status) {
  if (said && said.version !== status.version) return location.reload();  // the page may be another, too
  said = status;
  const verdict = verdict_of(status);
  show_verdict(verdict);
  say($("host"), status.host ?? "");
  say($("clock"), status.now ? `${status.now.slice(0, 10)} ${status.now.slice(11, 19)} UTC` : "time unknown");
  say($("version"), `timeballd ${status.version}`);
  say($("uptime"), `up ${span(status.uptime_s)}`);
  show_alarms(status.alarms);
  for (const part of [show_time, show_receiver, show_rubidium, show_sources, show_service, show_latency, show_keys,
                      show_certificates, note_in_course]) part(status);
  document.title = listed(`${kMarks[verdict.level]} ${verdict.text}`, status.host);
  const raised = status.alarms.map((a) => a.name);
  announce([verdict.level, status.time.state, ...raised].join(),
           `${verdict.text}. ${raised.length ? `Alarms: ${raised.join(", ")}` : "No alarms"}.`);
}

function hear(status) {
  heard = performance.now();
  show(status);
  watch();
}

function listen() {
  stream?.close();
  stream = new EventSource("api/v1/events");
  stream.addEventListener("open", () => load_history().catch(() => {}));  // without it the plots begin now
  stream.addEventListener("status", (event) => hear(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    stream.close();
    setTimeout(listen, kReconnect);
  });
}

// Once a second: has the server been heard?
function watch() {
  const silence = (performance.now() - (heard ?? 0)) / 1000;
  const lost = silence > kSilence;
  document.body.classList.toggle("lost", lost);
  say($("link"), lost ? "no connection" : heard === null ? "connecting" : "live");
  if (!lost) return;
  const past = said ? ` Last heard ${span(silence)} ago, and greyed below: ${verdict_of(said).text}.` : "";
  show_verdict({level: "bad", text: kLost, detail: `Whether the time is right is not known.${past} Trying again.`});
  document.title = `? ${kLost}`;
  announce(kLost, kLost);
  if (silence % kGivenUp > kGivenUp - 1) listen();
}

fetched("api/v1/status").then(hear).catch(() => {});  // the stream's first comes a second later
listen();
setInterval(watch, 1000);
