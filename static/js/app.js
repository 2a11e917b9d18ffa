// The entry.  Each file is one subject and starts itself; the page works without all of them, only not live.
import "./clock.js";
import "./tips.js";
import "./live.js";
import "./actions.js";
import "./notices.js";
import "./filters.js";
import "./log.js";
import "./keys.js";
