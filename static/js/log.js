// The output of a run: appended while it runs, followed, wrapped, searched.  Its text comes escaped from the server.
import { hear } from "./clock.js";
import { failed, signOut } from "./live.js";

const LINES_KEPT = 5000;
const panel = document.querySelector("[data-output]");
if (panel) start(panel);

function start(panel) {
  const log = panel.querySelector(".log"), lines = panel.querySelector(".log-lines");
  const part = (name) => panel.querySelector(`[data-log-${name}]`);
  const earlier = part("earlier"), more = part("more"), field = part("find"), hits = part("hits");
  let next = lines.dataset.next, over = lines.dataset.over === "true", follow = !over, unseen = 0;

  // ------------------------------------------------------------------------------------------------ follow and wrap

  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  const toEnd = () => { log.scrollTop = log.scrollHeight; };

  function setFollow(on) {
    follow = on;
    if (on) { unseen = 0; toEnd(); }
    part("follow").setAttribute("aria-pressed", String(on));
    showUnseen();
  }

  function showUnseen() {
    more.hidden = unseen === 0;
    more.textContent = `${unseen.toLocaleString("en")} new line${unseen === 1 ? "" : "s"}, follow again`;
  }

  function setWrap(on) {
    log.classList.toggle("wrap", on);
    part("wrap").setAttribute("aria-pressed", String(on));
    if (follow) toEnd();
  }

  part("follow").addEventListener("click", () => setFollow(!follow));
  more.addEventListener("click", () => setFollow(true));
  log.addEventListener("scroll", () => { if (follow && !atEnd()) setFollow(false); }, { passive: true });
  part("wrap").addEventListener("click", () => {
    const on = !log.classList.contains("wrap");
    localStorage.setItem("wrap", on ? "on" : "off");
    setWrap(on);
  });
  new ResizeObserver(() => { if (follow) toEnd(); }).observe(log);

  // -------------------------------------------------------------------------------------------------------- new lines

  async function ask(query) {
    const url = new URL(panel.dataset.output, location.href);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const answer = await fetch(url, { headers: { "HX-Request": "true" }, cache: "no-store" });
    if (answer.status === 401 || answer.redirected) { signOut(); over = true; return null; }
    if (answer.status >= 400) throw new Error(`status ${answer.status}`);
    hear(answer.headers);
    if (answer.status === 204) return null;
    const holder = document.createElement("template");
    holder.innerHTML = await answer.text();
    return holder.content.querySelector(".log-lines");
  }

  async function poll() {
    let pause = 1000;
    try {
      if (!document.hidden) {
        const came = await ask({ after: next });
        if (came) append(came);
      }
    } catch {
      failed();
      pause = 5000;
    }
    if (!over) setTimeout(poll, pause);
  }

  function append(came) {
    const tail = lines.querySelector("[data-tail]");
    const fresh = [...came.children];
    unseen += follow ? 0 : fresh.filter((line) => !line.hasAttribute("data-tail")).length;
    tail?.remove();
    lines.append(...fresh);
    next = came.dataset.next;
    over = came.dataset.over === "true";
    while (follow && lines.children.length > LINES_KEPT) lines.firstElementChild.remove();
    if (lines.firstElementChild) setEarlier(lines.querySelector(".no")?.textContent);
    panel.querySelector(".log-empty").hidden = lines.children.length > 0;
    part("sum").textContent = `${Number(came.dataset.lines).toLocaleString("en")} line${came.dataset.lines === "1" ? "" : "s"} · ${came.dataset.size}`;
    const newest = part("newest")?.querySelector("time");
    if (newest && came.dataset.newest) newest.dateTime = came.dataset.newest;
    showGoing();
    if (field.value) find(0);
    if (follow) toEnd(); else showUnseen();
  }

  function showGoing() {
    log.classList.toggle("going", !over);
    part("live").hidden = over;
  }

  function setEarlier(number) {
    earlier.hidden = !(Number(number) > 1);
    if (!earlier.hidden) lines.dataset.earlier = number;
  }

  earlier.addEventListener("click", async () => {
    setFollow(false);
    const came = await ask({ before: lines.dataset.earlier }).catch(() => null);
    if (!came) return;
    const height = log.scrollHeight;
    lines.prepend(...came.querySelectorAll(":scope > li:not([data-tail])"));
    log.scrollTop += log.scrollHeight - height;
    setEarlier(came.dataset.earlier);
  });

  // ------------------------------------------------------------------------------------------------------------- find

  let found = [], at = -1;

  /** Looks again for what stands in the field; `by` moves to the next or the previous hit, 0 stays. */
  function find(by) {
    const wanted = field.value.toLowerCase(), here = found[at];
    found = wanted ? [...lines.children].filter((li) => li.querySelector(".tx")?.textContent.toLowerCase().includes(wanted)) : [];
    for (const li of lines.querySelectorAll(".hit, .here")) li.classList.remove("hit", "here");
    for (const li of found) li.classList.add("hit");
    const kept = found.indexOf(here);
    at = found.length ? ((kept < 0 ? (by < 0 ? 0 : -1) : kept) + by + found.length) % found.length : -1;
    if (kept < 0 && by === 0) at = found.length ? 0 : -1;
    hits.textContent = wanted ? (found.length ? `${at + 1} of ${found.length}` : "none") : "";
    highlight(wanted);
    if (at >= 0) show(found[at], by !== 0 || kept < 0);
  }

  function show(li, move) {
    li.classList.add("here");
    if (!move) return;
    setFollow(false);
    log.scrollTop = li.offsetTop - log.clientHeight / 2;
  }

  /** Marks the words themselves where the browser can, without touching the lines. */
  function highlight(wanted) {
    if (!CSS.highlights) return;
    const ranges = wanted ? found.slice(0, 2000).flatMap((li) => rangesIn(li.querySelector(".tx"), wanted)) : [];
    CSS.highlights.set("find", new Highlight(...ranges));
  }

  function rangesIn(el, wanted) {
    const walker = document.createTreeWalker(el, NodeFilter.SHOW_TEXT), ranges = [];
    while (walker.nextNode()) {
      const node = walker.currentNode, text = node.data.toLowerCase();
      for (let from = text.indexOf(wanted); from >= 0; from = text.indexOf(wanted, from + wanted.length)) {
        const range = new Range();
        range.setStart(node, from);
        range.setEnd(node, from + wanted.length);
        ranges.push(range);
      }
    }
    return ranges;
  }

  field.addEventListener("input", () => find(0));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); find(event.shiftKey ? -1 : 1); }
    if (event.key === "Escape") { field.value = ""; find(0); }
  });
  document.addEventListener("log:find", (event) => { if (field.value) find(event.detail); else field.focus(); });

  const remembered = localStorage.getItem("wrap");
  setWrap(remembered ? remembered === "on" : matchMedia("(max-width: 820px)").matches);
  showGoing();
  setFollow(follow);
  if (!over) setTimeout(poll, 1000);
}
