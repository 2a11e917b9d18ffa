// The executable twice under PM2: the web and the daemon.
//
//   APP_ENV=production JWT_SECRET=... DATABASE_URL=... pm2 start pm2/ecosystem.config.cjs
//
// Both get the variables of the shell that starts them, and its working directory: there they look for definitions.py and .env.

const path = require("node:path");

const executable = path.resolve(__dirname, "..", "dist", "schedmgr", "schedmgr");
const shutdownGrace = Number(process.env.SCHEDMGR_SHUTDOWN_GRACE || 30); // seconds, as in the program

const app = (mode) => ({
  name: `schedmgr-${mode}`,
  // PM2 takes a path with a space in it for a line of shell.
  script: executable.includes(" ") ? `exec "${executable}"` : executable,
  interpreter: "none",
  exec_mode: "fork",
  instances: 1,
  cwd: process.cwd(),
  env: { SCHEDMGR_MODE: mode },

  // A stop waits for running jobs; PM2's own 1.6 s would kill the daemon in their middle.
  kill_timeout: (shutdownGrace + 15) * 1000,
  // The daemon ends its jobs itself; PM2 would signal each of them at once, in whatever session they are.
  treekill: false,
  // A daemon that is switched off (SCHEDULE_DAEMON_ENABLED=false) exits 0 and stays stopped.
  stop_exit_codes: [0],
  min_uptime: 2000,
  max_restarts: 10,
});

module.exports = { apps: ["web", "daemon"].map(app) };
