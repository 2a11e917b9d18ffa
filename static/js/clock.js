// Time as the database tells it.  Every <time data-how> of the page is turned into words and ticks.

const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

let told = Date.parse(document.documentElement.dataset.now), heard = performance.now();
let connected = true;

/** The database's time now, in milliseconds. */
export const now = () => told + performance.now() - heard;

/** Takes the headers of any answer: the database's clock and the newest daemon beat. */
export function hear(headers) {
  const at = Date.parse(headers.get("X-Schedmgr-Now") ?? "");
  if (at) { told = at; heard = performance.now(); }
  const beat = headers.get("X-Schedmgr-Beat");
  if (beat) for (const el of document.querySelectorAll("time.beat")) el.dateTime = beat;
}

/** While the server cannot be reached, "due now" would be a guess. */
export function setConnected(is) {
  connected = is;
  tick(true);
}

const two = (n) => String(n).padStart(2, "0");

/** "00:30 UTC", with its day when that is not today. */
export function clock(at, seconds = false) {
  const t = new Date(at), today = new Date(now());
  const time = `${two(t.getUTCHours())}:${two(t.getUTCMinutes())}${seconds ? `:${two(t.getUTCSeconds())}` : ""} UTC`;
  if (t.toISOString().slice(0, 10) === today.toISOString().slice(0, 10)) return time;
  if (Math.abs(at - now()) < 6 * DAY) return `${DAYS[t.getUTCDay()]} ${time}`;
  const year = t.getUTCFullYear() === today.getUTCFullYear() ? "" : ` ${t.getUTCFullYear()}`;
  return `${DAYS[t.getUTCDay()]} ${t.getUTCDate()} ${MONTHS[t.getUTCMonth()]}${year} ${time}`;
}

/** A length of time in at most two parts; `up` rounds up, for what is still to come. */
export function length(ms, up = false) {
  const whole = up ? Math.ceil : Math.floor;
  if (whole(ms / SECOND) < 60) return `${Math.max(0, whole(ms / SECOND))} s`;
  const minutes = whole(ms / MINUTE);
  if (minutes < 60) return `${minutes} min`;
  if (ms < DAY) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  const days = up ? Math.round(ms / DAY) : Math.floor(ms / DAY);
  return days === 1 ? "1 day" : `${days} days`;
}

/** How long something has been going: "6 min 41 s". */
function span(ms) {
  const s = Math.max(0, Math.floor(ms / SECOND));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s / 60} min`;
  return length(ms);
}

const WORDS = {
  ago: (at, left) => (Math.abs(left) < SECOND ? "just now" : -left >= DAY ? clock(at) : left > SECOND ? `in ${length(left, true)}` : `${length(-left)} ago`),
  age: (at, left) => (left > SECOND ? `in ${length(left, true)}` : `${length(-left)} ago`),
  in: (at, left) => (left > 0 ? `in ${length(left, true)}` : "now"),
  about: (at, left) => (left > 0 ? `in ${length(left, true).replace(/ h \d+ min$/, " h")}` : "now"),
  next: (at, left) => (left > 0 ? `in ${length(left, true)}` : !connected ? `was due ${clock(at)}`
    : -left <= MINUTE ? "due now" : `overdue ${length(-left)}`),
  span: (at, left) => span(-left),
  clock: (at) => clock(at),
  due: (at, left) => (left < -MINUTE ? `was due ${clock(at)}` : clock(at)),
  second: (at) => clock(at, true),
};

function show(el, all) {
  const word = WORDS[el.dataset.how];
  if (!word) return;
  const at = Date.parse(el.dateTime), left = at - now();
  if (!all && Math.abs(left) > HOUR) return;
  const text = word(at, left);
  if (el.textContent === text) return;
  el.textContent = text;
  if (el.tabIndex === 0) el.setAttribute("aria-label", `${text}, ${el.dataset.exact.split("\n")[0]}`);
  el.classList.toggle("late", el.dataset.how === "next" ? left < -MINUTE : el.classList.contains("beat") && left < -MINUTE);
}

let seconds = 0;

/** Brings every time of the page up to date: those near now each second, the rest every ten. */
export function tick(all = seconds % 10 === 0) {
  for (const el of document.querySelectorAll("time[data-how]")) show(el, all);
  const t = new Date(now()), el = document.querySelector("#clock time");
  if (el) el.textContent = `${t.toISOString().slice(11, 19)} UTC`;
}

function showViewerZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone, el = document.querySelector("#clock span");
  if (!el || !zone || /^(UTC|Etc\/|GMT)/.test(zone)) return;
  const format = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: zone });
  const city = zone.split("/").at(-1).replaceAll("_", " ");
  const write = () => { el.textContent = ` · ${format.format(now())} ${city}`; };
  write();
  setInterval(write, 5 * SECOND);
}

if (told) {
  tick(true);
  showViewerZone();
  setInterval(() => { seconds += 1; tick(); }, SECOND);
  document.addEventListener("htmx:after:swap", () => tick(true));
}
