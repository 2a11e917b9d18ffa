// Banners: on a phone one line each that opens on tap; an info notice folds to its title, for this browser, for good.

const remembered = (key) => `notice-${key}`;

function fold(banner, folded) {
  banner.toggleAttribute("data-kept-folded", folded);
  if (folded) localStorage.setItem(remembered(banner.dataset.notice), "folded");
  else localStorage.removeItem(remembered(banner.dataset.notice));
}

function settle() {
  for (const banner of document.querySelectorAll(".banner")) {
    if (banner.matches(".info")) banner.toggleAttribute("data-kept-folded", Boolean(localStorage.getItem(remembered(banner.dataset.notice))));
    const open = banner.hasAttribute("data-kept-open");
    banner.querySelector(".unfold").setAttribute("aria-expanded", String(open));
  }
}

document.addEventListener("click", (event) => {
  const banner = event.target.closest?.(".banner");
  if (!banner) return;
  if (event.target.closest("[data-fold]")) {
    fold(banner, true);
    banner.removeAttribute("data-kept-open");
  } else if (event.target.closest(".unfold")) {
    if (banner.hasAttribute("data-kept-folded")) { fold(banner, false); banner.setAttribute("data-kept-open", ""); }
    else banner.toggleAttribute("data-kept-open");
  }
  settle();
});
document.addEventListener("htmx:after:swap", settle);
settle();

// On a phone the facts of a run stand folded behind its output.
if (matchMedia("(max-width: 820px)").matches) document.querySelector("#run-facts-fold")?.removeAttribute("open");
