"use strict";
new EventSource("api/v1/events").addEventListener("status", (event) => {
  const status = JSON.parse(event.data);
  const bound = status.time.error_bound_s;
  document.getElementById("host").textContent = status.host;
  document.getElementById("synchronised").textContent = status.time.synchronised ? "synchronised" : "not synchronised";
  document.getElementById("bound").textContent = bound === null ? "(not known)" : (bound * 1e6).toFixed(3) + " us";
});
