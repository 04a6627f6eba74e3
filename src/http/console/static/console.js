// Ours: what is still to come is counted down from the server's time, and news are announced without moving anything.
(() => {
  const main = document.querySelector("main");
  if (!main) return;
  const ahead = Number(main.dataset.now) - Date.now();
  const unit = (n, word) => (n > 0 ? n + " " + word + " " : "");
  const left = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
    if (d > 0) return (unit(d, "d") + unit(h, "h")).trim();
    if (h > 0) return (unit(h, "h") + unit(m, "min")).trim();
    return (unit(m, "min") + (s % 60) + " s").trim();
  };
  const tick = () => {
    const now = Date.now() + ahead;
    for (const time of document.querySelectorAll("time[data-until]")) {
      if (!time.title) time.title = time.textContent;
      const ms = Number(time.dataset.until) - now;
      time.textContent = ms > 0 ? "in " + left(ms) : "now past (" + time.title + ")";
    }
  };
  tick();
  setInterval(tick, 1000);

  const bar = document.getElementById("news");
  let source;
  const listen = () => {
    const from = document.querySelector("[data-stream]");
    if (source) source.close();
    if (!from || !bar || !window.EventSource) return;
    source = new EventSource(from.dataset.stream);
    source.addEventListener("news", (event) => {
      const said = JSON.parse(event.data);
      const link = bar.querySelector("a");
      link.textContent = said.text;
      link.hidden = false;
      bar.querySelector(".sr").textContent = said.text;
      for (const badge of document.querySelectorAll("[data-pending]")) {
        badge.textContent = said.pending;
        badge.hidden = said.pending === "0";
      }
    });
    source.addEventListener("over", () => source.close());
  };
  listen();
  // A tab nobody looks at holds no connection: a browser has six for each server.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) listen();
    else if (source) source.close();
  });
  document.addEventListener("htmx:after:swap", () => {
    if (bar) bar.querySelector("a").hidden = true;
    tick();
    listen();
  });
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());
  // A verdict that is on its way is not sent twice by an impatient thumb.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) event.preventDefault();
    else if (!form.dataset.passkey) form.dataset.sent = "1";
  });
  addEventListener("pageshow", () => {
    for (const form of document.forms) delete form.dataset.sent;
  });
})();
