// Runs before the first paint, so that what needs JavaScript never flashes where there is none, and the other way round.
document.documentElement.classList.add("js");
