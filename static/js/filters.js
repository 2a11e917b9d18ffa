// A filter form asks for its list as one types; the address follows, so that every view can be sent to somebody.
import { accept } from "./live.js";

function apply(form) {
  const list = document.getElementById(form.dataset.filters);
  if (!list?.hasAttribute("data-live")) return form.requestSubmit();
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== "")).toString();
  const tail = query ? `?${query}` : "";
  list.setAttribute("hx-get", list.getAttribute("hx-get").split("?")[0] + tail);
  history.replaceState(null, "", form.getAttribute("action") + tail);
  accept(list);
}

for (const form of document.querySelectorAll("[data-filters]")) {
  let timer = 0;
  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => apply(form), event.target.matches("select") ? 0 : 250);
  });
  form.addEventListener("submit", (event) => {
    if (!document.getElementById(form.dataset.filters)?.hasAttribute("data-live")) return;
    event.preventDefault();
    clearTimeout(timer);
    apply(form);
  });
}
